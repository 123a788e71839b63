package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"

	"bittern/internal/event"
)

// LossReason says why records were lost.
type LossReason uint8

// The reasons.
const (
	RingFull    LossReason = iota // matches that found no room in the ring
	Busy                          // events that found all workspaces of their CPU taken
	Skipped                       // events at which the kernel did not run the program
	Undecodable                   // records that made no sense, of a class that is not known
	lossReasons
)

var lossNames = [lossReasons]string{"ring_full", "busy", "skipped", "record_undecodable"}

func (r LossReason) String() string { return lossNames[r] }

// Loss is how many records of a class were lost for a reason and not reported yet.
type Loss struct {
	Instance *Instance
	Class    event.Class // ClassUnknown if that is not known
	Reason   LossReason
	Total    uint64 // of the instance, reported ones included
	New      uint64
}

// Instance is what the programs of one agent tell: matches by a ring, and counters. It
// outlives the agent if it is pinned, and then its successor reads on where the agent ended.
type Instance struct {
	ID string // sorts by time

	pin      string // directory; "" if it goes with the agent
	matches  *ebpf.Map
	counters *ebpf.Map
	booksMap *ebpf.Map
	books    *words
	ring     *ring
	versions *versions
	drained  atomic.Bool // its matches have been read; for agents that are gone
	foreign  bool        // another build made it, of which only the ring's form is known
}

// Names of the maps of an instance.
const (
	instanceMatches  = "matches"
	instanceCounters = "counters"
	instanceBooks    = "books"
)

// The books hold two words for each class and reason: how many lost records are about to be reported, and
// have been. Whoever finds them unequal reports that very number first, which may be in the output
// already. Then come the records that could not be decoded, and the ring's position behind the last of
// them.
const (
	bookUndecodable = 2 * int(execEventClassEVENT_CLASS_COUNT) * int(lossReasons)
	bookPosition    = bookUndecodable + 1
	bookWords       = bookPosition + 1
)

func announced(class event.Class, reason LossReason) int {
	return 2 * (int(class)*int(lossReasons) + int(reason))
}
func reported(class event.Class, reason LossReason) int { return announced(class, reason) + 1 }

// newInstance makes that of a new agent. It owns the maps from now on.
func newInstance(matches, counters *ebpf.Map) (_ *Instance, err error) {
	i := &Instance{ID: fmt.Sprintf("%016x", time.Since(bootTime())), versions: newVersions()}
	defer func() {
		if err != nil {
			i.close()
		}
	}()
	i.booksMap, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "bittern_books", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: uint32(bookWords), Flags: mmapable,
	})
	if err != nil {
		return nil, fmt.Errorf("opening the books: %w", err)
	}
	if i.matches, err = matches.Clone(); err != nil {
		return nil, err
	}
	if i.counters, err = counters.Clone(); err != nil {
		return nil, err
	}
	return i, i.open()
}

// mmapable is BPF_F_MMAPABLE.
const mmapable = 1 << 10

func (i *Instance) open() (err error) {
	if i.books, err = mapWords(i.booksMap); err != nil {
		return err
	}
	i.ring, err = newRing(i.matches)
	return err
}

// keep pins the instance in a directory of the given pins.
func (i *Instance) keep(p *pins, layout string) error {
	i.pin = filepath.Join(p.instances(), i.ID+"-"+layout)
	return pinMaps(i.pin, map[string]*ebpf.Map{
		instanceMatches: i.matches, instanceCounters: i.counters, instanceBooks: i.booksMap,
	})
}

// adoptInstance opens one that is pinned.
func adoptInstance(dir string) (_ *Instance, err error) {
	id, _, _ := strings.Cut(filepath.Base(dir), "-")
	i := &Instance{ID: id, pin: dir}
	defer func() {
		if err != nil {
			i.close()
		}
	}()
	for name, to := range map[string]**ebpf.Map{instanceMatches: &i.matches, instanceCounters: &i.counters, instanceBooks: &i.booksMap} {
		if *to, err = ebpf.LoadPinnedMap(filepath.Join(dir, name), nil); err != nil {
			return nil, fmt.Errorf("adopting what an agent has left: %w", err)
		}
	}
	return i, i.open()
}

// adoptInstances opens all that are pinned, oldest first. Those of another layout of records are foreign.
func adoptInstances(p *pins, layout string) (found []*Instance, err error) {
	names, err := list(p.instances())
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		i, err := adoptInstance(filepath.Join(p.instances(), name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// Of an agent that was killed while it pinned it, before it took anything over.
		case err != nil:
			return found, err
		default:
			i.foreign = !strings.HasSuffix(name, "-"+layout)
			found = append(found, i)
		}
	}
	return found, nil
}

// count adds a counter up over the CPUs.
func (i *Instance) count(class event.Class, counter execCounter) (sum uint64, err error) {
	var perCPU []uint64
	at := uint32(class)*uint32(execCounterCOUNTER_COUNT) + uint32(counter)
	if err := i.counters.Lookup(at, &perCPU); err != nil {
		return 0, fmt.Errorf("reading kernel counter %d of %s: %w", counter, class, err)
	}
	for _, n := range perCPU {
		sum += n
	}
	return sum, nil
}

// loss compares a total with what has been reported of it.
func (i *Instance) loss(class event.Class, reason LossReason, total uint64) Loss {
	done, begun := i.books.load(reported(class, reason)), i.books.load(announced(class, reason))
	if begun <= done && done < total {
		begun = total
		i.books.store(announced(class, reason), begun)
	}
	l := Loss{Instance: i, Class: class, Reason: reason, Total: begun}
	if done < begun {
		l.New = begun - done
	}
	return l
}

// Reported notes that the loss has been reported. Whoever comes after us does not report it again.
func (l Loss) Reported() { l.Instance.books.store(reported(l.Class, l.Reason), l.Total) }

// ID names the loss for good, also for an agent that comes after us.
func (l Loss) ID() []any {
	if l.Reason == Skipped { // counted by stubs, which go from agent to agent
		return []any{l.Reason, l.Class, l.Total}
	}
	return []any{l.Instance.ID, l.Reason, l.Class, l.Total}
}

// undecodable counts the record that was read last, unless that has been done.
func (i *Instance) undecodable() {
	if i.books.load(bookPosition) >= i.ring.next {
		return
	}
	i.books.store(bookUndecodable, i.books.load(bookUndecodable)+1)
	i.books.store(bookPosition, i.ring.next)
}

// close lets go of the instance. What is pinned stays.
func (i *Instance) close() {
	if i.ring != nil {
		i.ring.close()
	}
	if i.books != nil {
		_ = i.books.unmap()
	}
	for _, m := range []*ebpf.Map{i.matches, i.counters, i.booksMap} {
		if m != nil {
			m.Close()
		}
	}
}

// remove lets go of the instance and of its pins.
func (i *Instance) remove() error {
	i.close()
	if i.pin == "" {
		return nil
	}
	return removePins(i.pin)
}
