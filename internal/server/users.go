package server

import "os"

// childUID is the user that children run as.
func (s *Server) childUID() int { return os.Geteuid() }
