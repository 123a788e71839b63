package control

import (
	"context"
	"errors"
	"sync"
)

// ErrClosed says that a hub will send no more.
var ErrClosed = errors.New("the agent is stopping")

// Hub hands what is published to all who listen. Publishing waits for nobody: a listener that is too
// slow loses the newest, and is told how many.
type Hub[T any] struct {
	mu      sync.Mutex
	closed  bool
	streams map[*Stream[T]]struct{}
}

// Stream is what one listener gets.
type Stream[T any] struct {
	hub   *Hub[T]
	queue chan T
	lost  uint64 // guarded by hub.mu
}

// Listen begins to receive what is published from now on. limit is how many may wait.
func (h *Hub[T]) Listen(limit int) *Stream[T] {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &Stream[T]{hub: h, queue: make(chan T, limit)}
	if h.closed {
		close(s.queue)
		return s
	}
	if h.streams == nil {
		h.streams = make(map[*Stream[T]]struct{})
	}
	h.streams[s] = struct{}{}
	return s
}

// Publish hands v to all who listen now.
func (h *Hub[T]) Publish(v T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.streams {
		select {
		case s.queue <- v:
		default:
			s.lost++
		}
	}
}

// Heard reports whether anybody listens.
func (h *Hub[T]) Heard() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.streams) > 0
}

// Close ends all streams, once they have been read.
func (h *Hub[T]) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.streams {
		close(s.queue)
	}
	h.streams = nil
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
