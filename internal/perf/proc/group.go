package proc

import (
	"sync"
	"time"
)

// Group is a set of processes that are ended together, the newest first: who
// was started later may depend on who was started earlier.
type Group struct {
	Grace time.Duration // between SIGTERM and SIGKILL; 0 means 3 s

	mu      sync.Mutex
	members []*Process
}

// Start starts a process as a member of the group. Members that have ended are
// forgotten.
func (g *Group) Start(c Command) (*Process, error) {
	p, err := Start(c)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members = append(alive(g.members), p)
	return p, nil
}

// Stop ends all members and returns when they are gone.
func (g *Group) Stop() {
	g.mu.Lock()
	members := g.members
	g.members = nil
	g.mu.Unlock()
	grace := g.Grace
	if grace == 0 {
		grace = 3 * time.Second
	}
	for i := len(members) - 1; i >= 0; i-- {
		members[i].Stop(grace)
	}
}

// alive returns the processes that have not ended.
func alive(all []*Process) []*Process {
	var living []*Process
	for _, p := range all {
		select {
		case <-p.done:
		default:
			living = append(living, p)
		}
	}
	return living
}
