package loader

import (
	"fmt"
	"sync"

	"github.com/cilium/ebpf/btf"
)

// kernelTypes are the types of the running kernel, by which programs are fitted to it. They
// take megabytes, and time to read: so they are kept while hooks are being found, and no
// longer.
type kernelTypes struct {
	mu    sync.Mutex
	users int
	spec  *btf.Spec
}

// borrow returns the types. The caller must call giveBack, whatever the result.
func (k *kernelTypes) borrow() (*btf.Spec, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.users++
	if k.spec == nil {
		spec, err := btf.LoadKernelSpec()
		if err != nil {
			return nil, fmt.Errorf("reading the kernel's types: %w", err)
		}
		k.spec = spec
	}
	return k.spec, nil
}

func (k *kernelTypes) giveBack() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.users--; k.users == 0 {
		k.spec = nil
	}
}
