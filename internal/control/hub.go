package control

import (
	"context"
	"errors"
	"sync"
)

// ErrClosed says that a hub will send no more.
var ErrClosed = errors.New("the agent is stopping")

// Hub hands what is published to all who listen, and keeps the newest for those who come later.
// Publishing waits for nobody: a listener that is too slow loses the newest, and is told how many.
type Hub[T any] struct {
	mu      sync.Mutex
	closed  bool
	streams map[*Stream[T]]struct{}
	recent  []T // a ring, once it is full
	oldest  int // in recent
	keep    int
}

// NewHub makes a hub that keeps so many.
func NewHub[T any](keep int) *Hub[T] {
	return &Hub[T]{keep: keep, streams: make(map[*Stream[T]]struct{})}
}

// Stream is what one listener gets.
type Stream[T any] struct {
	hub   *Hub[T]
	queue chan T
	lost  uint64 // guarded by hub.mu
}

// Listen begins with the last that were published, at most recent, and goes on without a gap. limit is
// how many more may wait.
func (h *Hub[T]) Listen(limit, recent int) *Stream[T] {
	h.mu.Lock()
	defer h.mu.Unlock()
	recent = max(0, min(recent, len(h.recent)))
	s := &Stream[T]{hub: h, queue: make(chan T, limit+recent)}
	for i := len(h.recent) - recent; i < len(h.recent); i++ {
		s.queue <- h.recent[(h.oldest+i)%len(h.recent)]
	}
	if h.closed {
		close(s.queue)
		return s
	}
	h.streams[s] = struct{}{}
	return s
}

// Publish hands v to all who listen now.
func (h *Hub[T]) Publish(v T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case len(h.recent) < h.keep:
		h.recent = append(h.recent, v)
	case h.keep > 0:
		h.recent[h.oldest] = v
		h.oldest = (h.oldest + 1) % h.keep
	}
	for s := range h.streams {
		select {
		case s.queue <- v:
		default:
			s.lost++
		}
	}
}

// Close ends all streams, once they have been read.
func (h *Hub[T]) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.streams {
		close(s.queue)
	}
	clear(h.streams)
}

// Next waits for the next, and says how many were lost after the ones before.
func (s *Stream[T]) Next(ctx context.Context) (v T, lost uint64, err error) {
	select {
	case v, ok := <-s.queue:
		if !ok {
			return v, 0, ErrClosed
		}
		return v, s.takeLost(), nil
	case <-ctx.Done():
		return v, 0, ctx.Err()
	}
}

// waits reports whether the next is there already.
func (s *Stream[T]) waits() bool { return len(s.queue) > 0 }

func (s *Stream[T]) takeLost() uint64 {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	lost := s.lost
	s.lost = 0
	return lost
}

// Close ends the stream.
func (s *Stream[T]) Close() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	delete(s.hub.streams, s)
}
