// Package child is the bottom half as a process: the paper's daemon child
// (section 4.4.1), one for each application, which the connection server starts
// so that the user can't kill it. It makes the segment and the circuits, asks
// the server for ports, and stands in for the application. What goes on in the
// segment does not belong here: that is package half.
package child
