package loader

import (
	"sync"
	"time"

	"github.com/cilium/ebpf/btf"
)

// keepTypes is how long the kernel's types are kept after the last program was loaded: the
// hooks of several classes are found one soon after the other.
const keepTypes = time.Second

// kernelTypes are the types of the running kernel, by which programs are fitted to it. They
// take megabytes, and time to read: so they are read once for programs that are loaded
// together, and not kept for longer.
type kernelTypes struct {
	mu    sync.Mutex
	users int
	cache *btf.Cache
}

// borrow returns the types. The caller must call giveBack.
func (k *kernelTypes) borrow() *btf.Cache {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.users++
	if k.cache == nil {
		k.cache = btf.NewCache()
	}
	return k.cache
}

func (k *kernelTypes) giveBack() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.users--; k.users == 0 {
		time.AfterFunc(keepTypes, k.drop)
	}
}

// drop forgets the types unless somebody has borrowed them meanwhile.
func (k *kernelTypes) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.users == 0 {
		k.cache = nil
	}
}
