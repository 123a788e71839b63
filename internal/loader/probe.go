package loader

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
)

// probe finds the best hook of the class, once: it loads and attaches each candidate in
// turn and sees whether it fires.
func (h *classHook) probe() {
	h.probing.Do(func() {
		// Kept for all of the programs that are tried.
		h.host.types.borrow()
		defer h.host.types.giveBack()
		object, loadErr := h.from.load()
		candidates, better := h.inOrder()
		for i, c := range candidates {
			err := cmp.Or(loadErr, passive(c))
			if err == nil {
				err = h.try(object, c)
			}
			if err == nil {
				if i == 0 {
					for _, c := range candidates[1 : 1+better] {
						h.hook.Refused = append(h.hook.Refused, refusal(c, errKept))
					}
				}
				break
			}
			h.hook.Refused = append(h.hook.Refused, refusal(c, err))
		}
		if h.host.found != nil {
			h.host.found(h.hook)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.found = true
	})
}

// inOrder returns the candidates as they are to be tried: first what the agent before us has left
// attached. Events go on only through the same hook from one to the next; with both attached for a moment,
// some would be seen twice. After it come the better ones, which it is taken instead of.
func (h *classHook) inOrder() (candidates []candidate, better int) {
	all := h.from.candidates
	i := slices.IndexFunc(all, func(c candidate) bool { return h.host.inherits(c.programs) || h.host.inherits(c.simpler) })
	if i <= 0 {
		return all, 0
	}
	return slices.Concat(all[i:i+1], all[:i], all[i+1:]), i
}

// try loads one candidate and keeps it if it works.
func (h *classHook) try(object *ebpf.CollectionSpec, c candidate) error {
	first, second := c.programs, c.simpler
	if h.host.inherits(second) {
		first, second = second, first
	}
	programs, err := h.load(object, first)
	if err != nil && second != nil {
		programs, err = h.load(object, second)
	}
	if err != nil {
		return err
	}
	misses := []string{}
	if c.misses != "" {
		misses = append(misses, c.misses)
	}
	for _, p := range c.parts {
		more, err := h.loadPart(object, p)
		if err != nil && p.misses != "" {
			misses = append(misses, p.misses+" ("+shortReason(err)+")")
		}
		programs = append(programs, more...)
	}
	if err := h.selfTest(programs); err != nil {
		closeAll(programs)
		return err
	}
	h.programs, h.hook.Name, h.hook.Misses = programs, c.name, strings.Join(misses, "; ")
	return nil
}

// load loads programs, at the same time: most of it is the verifier's work.
func (h *classHook) load(object *ebpf.CollectionSpec, names []string) ([]*program, error) {
	// One alone tells whether there is any use in loading the rest.
	first, err := h.host.loadProgram(object, names[0])
	if err != nil {
		return nil, err
	}
	programs := make([]*program, len(names))
	errs := make([]error, len(names))
	programs[0] = first
	var loading sync.WaitGroup
	for i, name := range names[1:] {
		loading.Go(func() { programs[i+1], errs[i+1] = h.host.loadProgram(object, name) })
	}
	loading.Wait()
	for i, err := range errs {
		if err != nil {
			closeAll(programs)
			return nil, fmt.Errorf("%s: %w", names[i], err)
		}
	}
	return programs, nil
}

// loadPart loads programs of which it must be tried whether they attach: the kernel may
// know the hook's function and have no way to it.
func (h *classHook) loadPart(object *ebpf.CollectionSpec, p part) ([]*program, error) {
	programs, err := h.load(object, p.programs)
	if err != nil {
		return nil, err
	}
	for _, p := range programs {
		s, err := h.host.attachFor(p, h.testCgroup())
		if err != nil {
			closeAll(programs)
			return nil, err
		}
		if err := s.close(); err != nil {
			closeAll(programs)
			return nil, err
		}
	}
	return programs, nil
}

func closeAll(programs []*program) {
	for _, p := range programs {
		if p != nil {
			p.close()
		}
	}
}

// testCgroup is where programs of cgroups are attached to try them: the cgroup that this
// process is in, so that they see what it does.
func (h *classHook) testCgroup() string {
	if own, err := ownCgroup(); err == nil {
		return own
	}
	return h.host.cgroup
}

// selfTest attaches the programs and does what one of them should be told of.
func (h *classHook) selfTest(programs []*program) (err error) {
	var stubs []*stub
	defer func() {
		for _, s := range stubs {
			_ = s.close()
		}
		err = errors.Join(err, h.host.ended())
	}()
	for _, p := range programs {
		if err := p.objects.Variables[fileVarSelfTestTgid].Set(uint32(os.Getpid())); err != nil {
			return err
		}
		s, err := h.host.attachFor(p, h.testCgroup())
		if err != nil {
			return err
		}
		stubs = append(stubs, s)
	}
	if err := h.from.test(); err != nil {
		return fmt.Errorf("testing it: %w", err)
	}
	var sum uint64
	for _, p := range programs {
		var n uint64
		if err := p.objects.Variables[fileVarSelfTestFired].Get(&n); err != nil {
			return err
		}
		sum += n
		if err := p.objects.Variables[fileVarSelfTestTgid].Set(uint32(0)); err != nil {
			return err
		}
	}
	if sum == 0 {
		return errSilent
	}
	return nil
}
