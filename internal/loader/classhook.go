package loader

import (
	"errors"
	"fmt"
	"sync"

	"bittern/internal/event"
)

// classHook is the hook of one class: found when the first rule needs it, and attached
// while one does.
type classHook struct {
	class event.Class
	from  source
	host  *host

	probing  sync.Once
	hook     Hook       // set by probe
	programs []*program // set by probe; none if there is no hook

	mu    sync.Mutex // guards what follows
	found bool       // probe has ended
	users int        // that have asked for it and not released it
	live  bool       // attached, or to be so as soon as events are wanted at all
	stubs []*stub
	past  uint64 // how often the kernel did not run stubs that are gone
}

func newClassHook(class event.Class, h *host) *classHook {
	return &classHook{class: class, from: sources[class], host: h, hook: Hook{Class: class}}
}

// known reports whether the hook has been found, or that there is none.
func (h *classHook) known() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.found
}

// loaded returns the programs, none as long as the hook has not been found.
func (h *classHook) loaded() []*program {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.found {
		return nil
	}
	return h.programs
}

// skipped is how often the kernel did not run the programs since they were attached.
func (h *classHook) skipped() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	sum := h.past
	for _, s := range h.stubs {
		sum += s.skipped()
	}
	return sum
}

// stats are those of the programs that are attached.
func (h *classHook) stats() ([]ProgramStats, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return statsOf(h.stubs, h.programs)
}

// use finds the hook if that has not been done, and makes events of the class flow until
// release is called as often.
func (h *classHook) use() error {
	h.probe()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.programs == nil {
		return &UnsupportedError{h.hook}
	}
	if h.live && len(h.stubs) == 0 {
		if err := h.attachLocked(); err != nil {
			return fmt.Errorf("attaching %s: %w", h.hook.Name, err)
		}
	}
	h.users++
	return nil
}

func (h *classHook) attachLocked() error {
	for _, p := range h.programs {
		s, err := h.host.attach(p)
		if err != nil {
			return errors.Join(err, h.detachLocked())
		}
		h.stubs = append(h.stubs, s)
	}
	return nil
}

// start makes events flow, now if the hook is in use and else as soon as it is.
func (h *classHook) start() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.live = true
	if h.users == 0 || len(h.stubs) > 0 {
		return nil
	}
	if err := h.attachLocked(); err != nil {
		return fmt.Errorf("attaching %s: %w", h.hook.Name, err)
	}
	return nil
}

// leave lets go of the hook and leaves it to its pins, for the next agent.
func (h *classHook) leave() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for _, s := range h.stubs {
		h.past += s.skipped()
		errs = append(errs, s.release())
	}
	h.stubs, h.live = nil, false
	return errors.Join(errs...)
}

// release gives one use back; with the last the events end.
func (h *classHook) release() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.users--; h.users > 0 {
		return nil
	}
	if err := h.detachLocked(); err != nil {
		return fmt.Errorf("detaching %s: %w", h.hook.Name, err)
	}
	return nil
}

// ready reports whether use would return at once.
func (h *classHook) ready() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.found && (len(h.stubs) > 0 || h.programs == nil)
}

// detach ends the events, whoever uses them.
func (h *classHook) detach() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.live = false
	return h.detachLocked()
}

func (h *classHook) detachLocked() error {
	var errs []error
	for _, s := range h.stubs {
		h.past += s.skipped()
		errs = append(errs, s.close())
	}
	h.stubs = nil
	return errors.Join(errs...)
}

// close must not be called while the hook is being found.
func (h *classHook) close() error {
	err := h.detach()
	closeAll(h.programs)
	return err
}

// pinned returns where its stubs are pinned.
func (h *classHook) pinned() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	dirs := make([]string, len(h.stubs))
	for i, s := range h.stubs {
		dirs[i] = s.pin
	}
	return dirs
}
