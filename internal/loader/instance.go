package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

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
	settled  atomic.Bool // its losses have been looked at after that
	records  recordForm
}

// recordForm is how an instance's records lie in its ring, which other builds may have to read.
type recordForm struct {
	format int // of execLimitRECORD_FORMAT
	fixed  int // bytes of its struct record; those that both builds know come first
}

// ownRecords is the form of our own.
var ownRecords = recordForm{int(execLimitRECORD_FORMAT), recordBytes}

const recordBytes = int(unsafe.Sizeof(execRecord{}))

// readable reports whether this build understands such records.
func (f recordForm) readable() bool { return f.format == ownRecords.format }

// pinName names what an instance is pinned as. It is for pinned.
func (f recordForm) pinName(id string) string { return fmt.Sprintf("%s-%d-%d", id, f.format, f.fixed) }

// pinned takes the name of a pinned instance apart; false if no build names them so.
func pinned(name string) (id string, form recordForm, ok bool) {
	parts := strings.Split(name, "-")
	if len(parts) != 3 {
		return "", recordForm{}, false
	}
	var format, fixed error
	form.format, format = strconv.Atoi(parts[1])
	form.fixed, fixed = strconv.Atoi(parts[2])
	ok = format == nil && fixed == nil && form.fixed >= int(unsafe.Sizeof(execRecordHeader{}))
	return parts[0], form, ok
}

// Names of the maps of an instance.
const (
	instanceMatches  = "matches"
	instanceCounters = "counters"
	instanceBooks    = "books"
)

// The books hold how many records could not be decoded, and the ring's position behind the last of
// them. Then come two words for each class and reason: how many lost records are about to be reported, and
// have been. Whoever finds them unequal reports that very number first, which may be in the output
// already. All builds have these places in common; there is room for more reasons.
const (
	bookUndecodable = iota
	bookPosition
	bookClasses

	bookReasons = 8
	bookWords   = bookClasses + 2*bookReasons*int(execEventClassEVENT_CLASS_COUNT)
)

var _ [bookReasons - lossReasons]struct{} // there is room for all

func announced(class event.Class, reason LossReason) int {
	return bookClasses + 2*(int(class)*bookReasons+int(reason))
}
func reported(class event.Class, reason LossReason) int { return announced(class, reason) + 1 }

// newInstance makes that of a new agent. It owns the maps from now on.
func newInstance(matches, counters *ebpf.Map) (_ *Instance, err error) {
	i := &Instance{ID: instanceID(Uptime()), versions: newVersions(), records: ownRecords}
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

// instanceID names an instance by when it was made, so that names sort as the instances do.
func instanceID(at time.Duration) string { return fmt.Sprintf("%016x", at.Nanoseconds()) }

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
func (i *Instance) keep(p *pins) error {
	i.pin = filepath.Join(p.instances(), i.records.pinName(i.ID))
	return pinMaps(i.pin, map[string]*ebpf.Map{
		instanceMatches: i.matches, instanceCounters: i.counters, instanceBooks: i.booksMap,
	})
}

// adoptInstance opens one that is pinned.
func adoptInstance(dir, id string, records recordForm) (_ *Instance, err error) {
	i := &Instance{ID: id, pin: dir, records: records}
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

// adoptInstances opens all that are pinned, oldest first.
func adoptInstances(p *pins, log *slog.Logger) (found []*Instance, err error) {
	names, err := list(p.instances())
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		id, records, ok := pinned(name)
		if !ok {
			log.Warn("what an agent has left can't be read, it is thrown away", "pins", filepath.Join(p.instances(), name))
			continue
		}
		i, err := adoptInstance(filepath.Join(p.instances(), name), id, records)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// Of an agent that was killed while it pinned it, before it took anything over.
		case err != nil:
			return found, err
		default:
			found = append(found, i)
		}
	}
	return found, nil
}

// knows reports whether the build that made the instance knew the class.
func (i *Instance) knows(class event.Class) bool {
	return uint32(class) < i.counters.MaxEntries()/uint32(execLimitCOUNTER_STRIDE)
}

// count adds a counter up over the CPUs.
func (i *Instance) count(class event.Class, counter execCounter) (sum uint64, err error) {
	var perCPU []uint64
	at := uint32(class)*uint32(execLimitCOUNTER_STRIDE) + uint32(counter)
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
