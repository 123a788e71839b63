package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"bittern/internal/event"
	"bittern/internal/require"
)

// kernelImage is what kexec_file_load(2) takes for a kernel of x86-64: the header that the boot
// protocol asks for (Documentation/arch/x86/boot.rst), and nothing that could be run.
func kernelImage() []byte {
	image := make([]byte, 4096)
	image[0x1f1] = 1 // sector of the setup, beside the first
	copy(image[0x1fe:], "\x55\xaa\xeb\x6a"+"HdrS")
	binary.LittleEndian.PutUint16(image[0x206:], 0x20f) // version
	image[0x211] = 1                                    // loaded high
	binary.LittleEndian.PutUint32(image[0x230:], 2<<20) // alignment
	image[0x236] = 0b110_0011                           // 64 bits, above 4 GiB, five levels of page tables
	binary.LittleEndian.PutUint32(image[0x238:], 256)   // longest command line
	binary.LittleEndian.PutUint32(image[0x260:], 1<<20) // memory that it takes
	return image
}

// kexecStep is a call that loads or unloads the next kernel. Only hooks before the end of calls
// see one that fails.
type kexecStep struct {
	do    func() error
	want  string
	fails bool
}

// kexecSteps takes files of the directory dir. No kernel stays loaded.
func kexecSteps(dir string) []kexecStep {
	segment := struct { // struct kexec_segment
		buffer                   *[4096]byte
		size, memory, memorySize uintptr
	}{&[4096]byte{}, 4096, 16 << 20, 4096}
	load := func(number uintptr, segments int) func() error {
		return func() error {
			_, _, errno := unix.Syscall6(number, segment.memory, uintptr(segments), uintptr(unsafe.Pointer(&segment)), unix.KEXEC_ARCH_X86_64, 0, 0)
			return syscallError("kexec_load", errno)
		}
	}
	loadFile := func(name string, flags int) func() error {
		return withFile(filepath.Join(dir, name), unix.O_RDONLY|unix.O_CLOEXEC, func(fd int) error {
			return unix.KexecFileLoad(fd, -1, "quiet", flags|unix.KEXEC_FILE_NO_INITRAMFS)
		})
	}
	steps := []kexecStep{
		{load(unix.SYS_KEXEC_LOAD, 1), "kexec", false},
		{load(unix.SYS_KEXEC_LOAD, 0), "kexec", false}, // it unloads, which hooks can't tell apart
		{refused(load(unix.SYS_KEXEC_LOAD, 1000), unix.EINVAL), "kexec", true},
		{refused(loadFile("none", 0), unix.ENOEXEC), "kexec " + filepath.Join(dir, "none"), true},
		{loadFile("image", 0), "kexec " + filepath.Join(dir, "image"), false},
		{loadFile("image", unix.KEXEC_FILE_UNLOAD), "", false},
	}
	if takesX32() {
		steps = append(steps, kexecStep{load(528|x32Bit, 0), "kexec", false})
	}
	return steps
}

// loadKernels takes the steps in the directory args[0].
func loadKernels(args []string) error {
	for i, step := range kexecSteps(args[0]) {
		if err := step.do(); err != nil {
			return fmt.Errorf("step %d, %s: %w", i, step.want, err)
		}
	}
	return nil
}

// TestKexec loads kernels that are none, and unloads them.
func TestKexec(t *testing.T) {
	require.Kexec(t)
	bestAndLast(t, event.KernelChange, func(t *testing.T, k *Kernel, cgroup *os.File) {
		hook := watch(t, k, event.KernelChange, "  s: {kernel.operation: kexec}")
		dir := tempDir(t)
		if err := errors.Join(
			os.WriteFile(filepath.Join(dir, "none"), []byte("no kernel"), 0o600),
			os.WriteFile(filepath.Join(dir, "image"), kernelImage(), 0o600),
		); err != nil {
			t.Fatal(err)
		}
		mustRun(t, in(cgroup, actCommand(t, "load-kernels", dir)))
		var want []string
		for _, step := range kexecSteps(dir) {
			if step.want != "" && !(step.fails && atCallEnd(hook)) {
				want = append(want, step.want)
			}
		}
		if atCallEnd(hook) {
			mustMiss(t, hook, "what is refused")
		}
		sameLines(t, kernelChanges(t, k), want)
	})
}
