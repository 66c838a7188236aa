package perf

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"
)

// Client is the side that runs a test against a Server.
type Client struct {
	Stack Stack
}

// Run runs one test against the server at addr.
func (cl *Client) Run(ctx context.Context, addr string, setup Setup) (*Report, error) {
	if err := setup.Check(); err != nil {
		return nil, err
	}
	conn, err := cl.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	ctl := newControl(conn)
	var o offer
	if err := cl.negotiate(ctl, &setup, &o); err != nil {
		return nil, endOf(ctx, err)
	}
	t := &clientTest{
		Client: cl, ctl: ctl, setup: &setup, data: o.Data, peer: o.Stack,
		crew:  newCrew(setup.duration()+2*patience, nil),
		meter: newMeter("client", setup.Conns, cl.Stack), recorder: newRecorder(),
	}
	report, err := t.run(ctx)
	return report, endOf(ctx, err)
}

// endOf prefers the reason for which ctx ended to the errors that followed.
func endOf(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// dial connects within the usual patience.
func (cl *Client) dial(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return cl.Stack.Dial(ctx, addr)
}

// negotiate tells the server what is wanted and reads its offer.
func (cl *Client) negotiate(ctl *control, setup *Setup, o *offer) error {
	if err := ctl.send("the test's set-up", setupMessage{protocolVersion, *setup}); err != nil {
		return err
	}
	if err := ctl.receive("the server's offer", patience, o); err != nil {
		return err
	}
	if err := peerError(o.Error); err != nil {
		return err
	}
	if !slices.Contains(StackNames, o.Stack) {
		return fmt.Errorf("the server uses a stack %q that this client does not know", o.Stack)
	}
	return nil
}

// clientTest is the client's part in one test.
type clientTest struct {
	*Client
	ctl        *control
	setup      *Setup
	data       string // where to open data connections
	peer       string // the server's stack
	crew       *crew
	meter      *meter
	recorder   *recorder
	requesters []*requester
	portWaits  counter
	transport  *http.Transport // of http
}

func (t *clientTest) run(ctx context.Context) (*Report, error) {
	defer t.crew.closeAll()
	defer t.crew.watch(ctx)()
	if err := t.connect(ctx); err != nil {
		return nil, err
	}
	var r ready
	if err := t.ctl.receive("the start", 2*patience, &r); err != nil {
		return nil, err
	}
	if err := peerError(r.Error); err != nil {
		return nil, err
	}
	t.transport = t.newTransport()
	defer t.transport.CloseIdleConnections()
	for i := range t.setup.Conns {
		t.hire(ctx, i)
	}
	own := t.meter.measure(t.setup, t.crew)
	pause(slack, t.crew.failed)
	t.crew.stop.Store(true)
	if err := t.crew.wait(); err != nil {
		return nil, t.explain(err)
	}
	return t.conclude(own)
}

// connect opens the data connections of a test that keeps them.
func (t *clientTest) connect(ctx context.Context) error {
	if !t.setup.Test.keeps() {
		return nil
	}
	for range t.setup.Conns {
		conn, err := t.dial(ctx, t.data)
		if err != nil {
			return err
		}
		if err := t.crew.adopt(conn); err != nil {
			return err
		}
	}
	return nil
}

// hire starts worker i.
func (t *clientTest) hire(ctx context.Context, i int) {
	switch t.setup.Test {
	case Stream:
		t.hireFor(i, t.crew.sendMessages)
	case Maerts:
		t.hireFor(i, receiveMessages)
	case RR:
		r := t.newRequester(i)
		conn := t.crew.conns[i]
		t.crew.hire(func() error { return r.request(conn) })
	case CRR:
		r := t.newRequester(i)
		t.crew.hire(func() error { return r.connectAndRequest(ctx, t.Stack, t.data, &t.portWaits) })
	case HTTP:
		r := t.newRequester(i)
		t.crew.hire(func() error { return r.get(ctx, t.transport, t.data) })
	}
}

// hireFor starts a worker of a bulk test for connection i.
func (t *clientTest) hireFor(i int, work func(*Setup, net.Conn, *counter) error) {
	conn := t.crew.conns[i]
	t.crew.hire(func() error { return work(t.setup, conn, &t.meter.counters[i]) })
}

// newRequester keeps the requester for the latencies that it has last.
func (t *clientTest) newRequester(i int) *requester {
	r := newRequester(t.crew, t.setup, t.meter, t.recorder, i)
	t.requesters = append(t.requesters, r)
	return r
}

// explain adds what the server says about a failure, if it says anything soon.
func (t *clientTest) explain(err error) error {
	var res result
	if t.ctl.send("the end of the test", done{}) != nil {
		return err
	}
	if t.ctl.receive("the result", time.Second, &res) != nil || res.Error == "" {
		return err
	}
	return errors.Join(err, peerError(res.Error))
}

// conclude exchanges totals with the server and makes the report.
func (t *clientTest) conclude(own window) (*Report, error) {
	total := t.meter.total()
	if err := t.ctl.send("the end of the test", done{Total: total}); err != nil {
		return nil, err
	}
	var res result
	if err := t.ctl.receive("the result", 2*patience, &res); err != nil {
		return nil, err
	}
	if err := peerError(res.Error); err != nil {
		return nil, err
	}
	if res.Total != total {
		return nil, fmt.Errorf("%s: the client counted %d, the server %d", t.setup.Test, total, res.Total)
	}
	return t.report(own, res.Window), nil
}

// report is made of the receiver's window for bulk data, the client's otherwise.
func (t *clientTest) report(own, server window) *Report {
	counts := own
	if t.setup.Test == Stream {
		counts = server
	}
	r := newReport(t.Stack.Name(), t.setup, counts)
	r.Peer = t.peer
	for _, q := range t.requesters {
		q.times.flush()
	}
	r.Latency = t.recorder.summary()
	r.CongestionControl = congestionControl(t.ctl.conn)
	r.PortWaits = t.portWaits.n.Load()
	r.Uncounted = cmp.Or(own.Uncounted, server.Uncounted)
	r.CPU = CPUReport{
		Processes:   slices.Concat(own.Processes, server.Processes),
		Machine:     own.Machine,
		PeerMachine: server.Machine,
	}
	return r
}
