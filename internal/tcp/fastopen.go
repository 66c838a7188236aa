package tcp

// fastPhase says how far a fast open (RFC 7413) has come.
type fastPhase uint8
