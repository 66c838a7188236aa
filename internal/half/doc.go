// Package half is the paper's two halves (section 4.3): the loop that joins a
// pool, the wire and the engine over one shared segment. The top half runs in
// the application, in the calls of its goroutines; the bottom half runs in the
// child, whenever the application does not come (design: whoever is there
// drives). Both are a Half; what they add is in top.go and bottom.go. No
// protocol decision belongs here: those are the engine's.
package half
