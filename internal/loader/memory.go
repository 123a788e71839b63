package loader

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// words is the memory of an mmapable array map as 64-bit words. The kernel's
// programs read it while we write, so every access is one atomic load or store.
type words struct {
	mem   []byte
	words []uint64
	step  func() // before each store; nil but in tests, where the writer can end at any of them
}

// mapWords maps the values of m into memory. The caller must call unmap.
func mapWords(m *ebpf.Map) (*words, error) {
	size := int(m.ValueSize()+7) &^ 7 * int(m.MaxEntries())
	page := unix.Getpagesize()
	mem, err := unix.Mmap(m.FD(), 0, (size+page-1)&^(page-1), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping the memory of %s: %w", m, err)
	}
	return &words{
		mem: mem,
		// The mapping is page-aligned and at least size bytes long.
		words: unsafe.Slice((*uint64)(unsafe.Pointer(&mem[0])), size/8),
	}, nil
}

func (w *words) len() int          { return len(w.words) }
func (w *words) load(i int) uint64 { return atomic.LoadUint64(&w.words[i]) }

func (w *words) store(i int, val uint64) {
	if w.step != nil {
		w.step()
	}
	atomic.StoreUint64(&w.words[i], val)
}

func (w *words) unmap() error {
	w.words = nil
	return unix.Munmap(w.mem)
}
