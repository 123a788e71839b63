package loader

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"bittern/internal/event"
)

// classHook is the hook of one class: found when the first rule needs it, and attached
// while one does.
type classHook struct {
	class event.Class
	from  source
	host  *host

	probing  sync.Once
	object   *ebpf.CollectionSpec
	hook     Hook       // set by probe
	programs []*program // set by probe; none if there is no hook

	mu    sync.Mutex // guards what follows
	found bool       // probe has ended
	users int        // that have asked for it and not released it
	links []link.Link
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
func (h *classHook) loaded() []*ebpf.Program {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.found {
		return nil
	}
	programs := make([]*ebpf.Program, len(h.programs))
	for i, p := range h.programs {
		programs[i] = p.Program
	}
	return programs
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
	if len(h.links) == 0 {
		if err := h.attachLocked(); err != nil {
			return fmt.Errorf("attaching %s: %w", h.hook.Name, err)
		}
	}
	h.users++
	return nil
}

// renew loads a program once more that can't be attached any more.
func (h *classHook) renew(p *program) error {
	if !p.worn() {
		return nil
	}
	fresh, err := h.host.loadProgram(h.object, p.name)
	if err != nil {
		return fmt.Errorf("loading %s again: %w", p.name, err)
	}
	p.close()
	*p = *fresh
	return nil
}

func (h *classHook) attachProgram(p *program, cgroup string) (link.Link, error) {
	if err := h.renew(p); err != nil {
		return nil, err
	}
	l, err := p.attach(cgroup)
	if err != nil {
		return nil, fmt.Errorf("attaching %s: %w", p.name, err)
	}
	return l, nil
}

func (h *classHook) attachLocked() error {
	for _, p := range h.programs {
		l, err := h.attachProgram(p, h.host.cgroup)
		if err != nil {
			return errors.Join(err, h.detachLocked())
		}
		h.links = append(h.links, l)
	}
	return nil
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
	return h.found && (len(h.links) > 0 || h.programs == nil)
}

// detach ends the events, whoever uses them.
func (h *classHook) detach() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.detachLocked()
}

func (h *classHook) detachLocked() error {
	var errs []error
	for _, l := range h.links {
		errs = append(errs, l.Close())
	}
	h.links = nil
	return errors.Join(errs...)
}

// close must not be called while the hook is being found.
func (h *classHook) close() error {
	err := h.detach()
	closeAll(h.programs)
	return err
}
