package sim

import "usertcp/internal/tcp"

// event is something that happens at a moment.
type event struct {
	at    tcp.Time
	order uint64 // events of one moment happen in the order in which they were put
	what  func()
}

func (e *event) before(x *event) bool {
	return e.at < x.at || e.at == x.at && e.order < x.order
}

// events is a heap of events, the earliest first.
type events struct {
	heap []event
	put  uint64
}

// add adds an event.
func (q *events) add(at tcp.Time, what func()) {
	q.put++
	q.heap = append(q.heap, event{at, q.put, what})
	i := len(q.heap) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !q.heap[i].before(&q.heap[up]) {
			return
		}
		q.heap[i], q.heap[up] = q.heap[up], q.heap[i]
		i = up
	}
}

// next returns when the first event happens, Never if there is none.
func (q *events) next() tcp.Time {
	if len(q.heap) == 0 {
		return tcp.Never
	}
	return q.heap[0].at
}

// take removes the first event.
func (q *events) take() event {
	first := q.heap[0]
	n := len(q.heap) - 1
	q.heap[0] = q.heap[n]
	q.heap[n] = event{}
	q.heap = q.heap[:n]
	for i := 0; ; {
		down := 2*i + 1
		if down >= n {
			return first
		}
		if down+1 < n && q.heap[down+1].before(&q.heap[down]) {
			down++
		}
		if !q.heap[down].before(&q.heap[i]) {
			return first
		}
		q.heap[i], q.heap[down] = q.heap[down], q.heap[i]
		i = down
	}
}
