package tcp

import (
	"usertcp/internal/seq"
	"usertcp/internal/wire"
)

func (c *Conn) OpenActive(m *Memory, now Time, flow wire.Flow, iss seq.Number) {}
func (c *Conn) OpenPassive(m *Memory, now Time, flow wire.Flow, iss seq.Number, opt *ConnOptions, syn *Segment) {
}
func (c *Conn) OpenListen(local wire.Endpoint)                     {}
func (c *Conn) Input(m *Memory, now Time, seg *Segment)            {}
func (c *Conn) Timeout(m *Memory, now Time)                        {}
func (c *Conn) Deadline() Time                                     { return Never }
func (c *Conn) NextSegment(m *Memory, now Time, out *Segment) bool { return false }
func (c *Conn) HasOutput() bool                                    { return false }
func (c *Conn) SendSpace() uint32                                  { return 0 }
func (c *Conn) Append(m *Memory, now Time, chunks Queue)           {}
func (c *Conn) Extend(m *Memory, now Time, n uint32)               {}
func (c *Conn) Consume(m *Memory, now Time, n uint32)              {}
func (c *Conn) Readable() (n uint32, fin bool)                     { return 0, false }
func (c *Conn) Shutdown(m *Memory, now Time)                       {}
func (c *Conn) CloseRead(m *Memory, now Time)                      {}
func (c *Conn) Close(m *Memory, now Time)                          {}
func (c *Conn) Abort(m *Memory, now Time)                          {}
func (c *Conn) Fail(m *Memory, now Time, e Error)                  {}
func (c *Conn) OptionsChanged(now Time)                            {}
func (c *Conn) MayReopen(syn *Segment) bool                        { return false }
func (c *Conn) CheckInvariants(m *Memory) error                    { return nil }
func ResetFor(seg *Segment, out *Segment) bool                     { return false }
func ISN(now Time, flow *wire.Flow, secret *[16]byte) seq.Number   { return 0 }
