package loader

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// ErrRunning says that another agent has the pins.
var ErrRunning = errors.New("another agent is running")

// errNoBPFFS says that a directory can't hold pins.
var errNoBPFFS = errors.New("it is not in a BPF file system (mount -t bpf bpf /sys/fs/bpf)")

// pins is a directory of a BPF file system in which lies what outlives an agent:
//
//	hooks/PROGRAM/{table,program,link}          stubs, see there
//	processes/LAYOUT/{processes,images}         the process table
//	instances/ID-FORMAT-BYTES/{matches,counters,books} what one agent's programs tell, see Instance
//
// Whoever holds its lock may change it.
type pins struct {
	dir  string
	lock *os.File
}

// openPins takes hold of the directory, which it makes if need be. Its error is ErrRunning if
// somebody has hold of it.
func openPins(dir string) (*pins, error) {
	var fsType unix.Statfs_t
	if err := unix.Statfs(existing(dir), &fsType); err != nil {
		return nil, fmt.Errorf("opening the pins in %s: %w", dir, err)
	}
	if fsType.Type != unix.BPF_FS_MAGIC {
		return nil, fmt.Errorf("opening the pins in %s: %w", dir, errNoBPFFS)
	}
	for {
		p, err := lockPins(dir)
		if p != nil || err != nil {
			return p, err
		}
	}
}

// lockPins is nil if somebody has removed the directory meanwhile, and has to be tried again then.
func lockPins(dir string) (*pins, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the pins: %w", err)
	}
	lock, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("opening the pins: %w", err)
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%w: it holds %s", ErrRunning, dir)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	locked, err := lock.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the pins: %w", err), lock.Close())
	}
	if there, err := os.Stat(dir); err != nil || !os.SameFile(locked, there) {
		return nil, lock.Close()
	}
	return &pins{dir: dir, lock: lock}, nil
}

// existing returns the directory, or the nearest above it that is there.
func existing(dir string) string {
	for {
		_, err := os.Stat(dir)
		above := filepath.Dir(dir)
		if !errors.Is(err, fs.ErrNotExist) || above == dir {
			return dir
		}
		dir = above
	}
}

// close gives the directory up to the next agent.
func (p *pins) close() error { return p.lock.Close() }

func (p *pins) hooks() string     { return filepath.Join(p.dir, "hooks") }
func (p *pins) processes() string { return filepath.Join(p.dir, "processes") }
func (p *pins) instances() string { return filepath.Join(p.dir, "instances") }

// hook is where the stub of a program is pinned. Those of cgroups are told apart by the cgroup.
func (p *pins) hook(program *program, cgroup string) (string, error) {
	name := program.name
	if program.ofCgroup() {
		var stat unix.Stat_t
		if err := unix.Stat(cgroup, &stat); err != nil {
			return "", fmt.Errorf("looking at cgroup %s: %w", cgroup, err)
		}
		name += fmt.Sprint("@", stat.Ino)
	}
	return filepath.Join(p.hooks(), name), nil
}

// pinOf returns the name of the program whose stub is pinned under a name.
func pinOf(name string) string {
	program, _, _ := strings.Cut(name, "@")
	return program
}

// empty removes everything, hooks first, so that nothing is at work without the rest.
func (p *pins) empty() error {
	return errors.Join(removePins(p.hooks()), removePins(p.processes()), removePins(p.instances()), remove(p.dir))
}

// list returns the names in a directory, sorted; none if it is not there.
func list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// removeOthers removes all directories below dir that are not among keep.
func removeOthers(dir string, keep []string) error {
	names, err := list(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if at := filepath.Join(dir, name); !slices.Contains(keep, at) {
			errs = append(errs, removePins(at))
		}
	}
	return errors.Join(errs...)
}

// removePins removes a directory with all that is pinned below it. Links go first: what
// they are attached to does not run without the rest.
func removePins(dir string) error {
	if err := remove(filepath.Join(dir, stubLink)); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing pins: %w", err)
	}
	return nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing a pin: %w", err)
	}
	return nil
}

// pinMaps pins maps in a directory, by name.
func pinMaps(dir string, maps map[string]*ebpf.Map) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("pinning maps: %w", err)
	}
	for name, m := range maps {
		if err := m.Pin(filepath.Join(dir, name)); err != nil {
			return errors.Join(fmt.Errorf("pinning maps: %w", err), removePins(dir))
		}
	}
	return nil
}

// layout identifies how types of an object lie in memory. Builds that agree in it understand
// each other's maps and records.
func layout(types *btf.Spec, names ...string) (string, error) {
	h := sha256.New()
	var describe func(t btf.Type)
	describe = func(t btf.Type) {
		t = btf.UnderlyingType(t)
		size, _ := btf.Sizeof(t)
		fmt.Fprintf(h, "%T %d\n", t, size)
		switch t := t.(type) {
		case *btf.Struct:
			for _, m := range t.Members {
				fmt.Fprintf(h, "%s %d ", m.Name, m.Offset)
				describe(m.Type)
			}
		case *btf.Array:
			fmt.Fprintf(h, "%d ", t.Nelems)
			describe(t.Type)
		case *btf.Enum:
			for _, v := range t.Values {
				fmt.Fprintf(h, "%s %d ", v.Name, v.Value)
			}
		}
	}
	for _, name := range names {
		t, err := types.AnyTypeByName(name)
		if err != nil {
			return "", fmt.Errorf("describing type %s: %w", name, err)
		}
		describe(t)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:6]), nil
}

// Unload removes all that agents have left in the kernel by way of a directory of pins. Its error is
// ErrRunning if one is at work.
func Unload(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	p, err := openPins(dir)
	if err != nil {
		return err
	}
	return errors.Join(p.empty(), p.close())
}
