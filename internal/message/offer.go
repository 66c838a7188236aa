package message

import "time"

// Offer is sockets that wait for somebody to take them: what a child and its server
// tell each other of it in a Keep, for the child's successor and the server's.
type Offer struct {
	Name   Name
	List   int // descriptor of what the old process says of the sockets
	Until  time.Time
	Vacant bool // nobody uses the segment
	Coming bool // the sockets are not there yet
}

// The values of a Keep's VCI: at most one of the two is the case.
const (
	offerVacant = 1 + iota
	offerComing
)

// Keep is the offer as a message, which has the time that it still lasts in whole ms.
func (o *Offer) Keep() Message {
	m := Message{Type: Keep, N: KeepOffer, Files: []int{o.List}}
	m.SetName(o.Name)
	m.Socket = uint32(max(0, time.Until(o.Until)/time.Millisecond))
	switch {
	case o.Vacant:
		m.VCI = offerVacant
	case o.Coming:
		m.VCI = offerComing
	}
	return m
}

// KeptOffer is what a Keep of an offer says. One without a list, or with more than that,
// is no offer: its descriptors are closed.
func KeptOffer(m *Message) (o Offer, ok bool) {
	if len(m.Files) != 1 {
		CloseFiles(m.Files)
		return Offer{}, false
	}
	until := time.Now().Add(time.Duration(m.Socket) * time.Millisecond)
	return Offer{m.Name(), m.Files[0], until, m.VCI == offerVacant, m.VCI == offerComing}, true
}
