package outbox

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

// A segment is a file of records of one tier, behind a header of this many bytes:
//
//	 0  magic       8   "BTRSEGM" and the format
//	 8  tier        1
//	 9  flags       1   1: records of it have been put together; 2: nothing is appended any more
//	10  zero        2
//	12  generation  4   of two segments with the same record that of the later one counts
//	16  id         16   random
//	32  index       8   of the first record
//	40  sequence    8   of the first record
//	48  last index  8   if there is a flag: of the last record that it stands for; else 0
//	56  records     4   if records have been put together: how many there are; else 0
//	60  CRC         4   CRC32C of the header before it
const (
	segmentHead   = 64
	segmentMagic  = "BTRSEGM\x01"
	segmentSuffix = ".seg"

	flagMerged = 1
	flagSealed = 2
)

// errFormat says that a segment is of another version of Bittern.
var errFormat = errors.New("it has a format of another version of Bittern")

// errEmpty says that a file never got what it was made for, or that a power failure took it.
var errEmpty = errors.New("there is nothing in it")

// errDamaged says that a file is not what it was.
var errDamaged = errors.New("it is damaged")

// segment is a file of records, or what is to be one. Appending to it is up to the writer; once it is sealed
// nothing in it changes any more.
type segment struct {
	name     string
	tier     Tier
	id       [16]byte
	made     uint32 // generation
	first    uint64 // index of the first record
	firstSeq uint64
	merged   bool   // records have been put together
	records  uint64 // of merged ones: how many there are

	file file   // nil: it is in memory, since the disk has failed
	mem  []byte // the same as the file would hold

	end       atomic.Int64 // behind the last record that may be read
	size      int64        // what it takes
	next      uint64       // index behind the last record; 0: not known yet
	lastSeq   uint64
	sealed    bool
	gone      atomic.Bool // it is not in the outbox any more
	unsynced  []byte      // records that may not be on the disk yet, the last ones up to end
	fresh     bool        // its name may not be on the disk yet
	replaces  [][16]byte  // ids of those that it took the place of
	abandoned bool        // its file may hold more than what is up to end
	instead   *segment    // while this is in memory: whose file has what was in the page cache, should the agent die
	guessed   bool        // its header is damaged
	tried     int         // how often it was looked at for records to put together
}

func newSegment(tier Tier, made uint32, first, firstSeq uint64) *segment {
	s := &segment{name: segmentName(tier, first, made), tier: tier, made: made, first: first, firstSeq: firstSeq, next: first, lastSeq: firstSeq - 1}
	_, _ = rand.Read(s.id[:]) // it never fails
	s.end.Store(segmentHead)
	return s
}

// openSegment opens a segment that is there. Only the header is read, unless it is damaged: then the records tell what it would.
func openSegment(d disk, name string) (_ *segment, err error) {
	f, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("segment %s: %w", name, err), f.Close())
		}
	}()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	var data [segmentHead]byte
	n, err := f.ReadAt(data[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		n = 0
	}
	s, err := readHead(data[:n])
	if errors.Is(err, errDamaged) {
		s, err = guessHead(name, f, size)
	}
	if err != nil {
		return nil, err
	}
	s.name, s.file, s.size = name, f, size
	s.end.Store(size)
	return s, nil
}

// guessHead makes a header of what the name and the records say.
func guessHead(name string, f file, size int64) (*segment, error) {
	tier, first, made, ok := parseSegmentName(name)
	if !ok {
		return nil, errDamaged
	}
	s := &segment{tier: tier, made: made, first: first, file: f, guessed: true}
	sum := sha256.Sum256([]byte(name)) // not at random: what is counted of it is counted once
	copy(s.id[:], sum[:])
	s.end.Store(size)
	data := s.load()
	scan(data, tier, func(r Record, _ int) bool {
		if s.firstSeq == 0 {
			s.firstSeq = r.Seq
		}
		s.records++
		s.merged = s.merged || r.Count > 1
		return true
	})
	switch {
	case s.firstSeq > 0:
		return s, nil
	case len(bytes.Trim(data, "\x00")) == 0:
		return nil, errEmpty
	default:
		return nil, fmt.Errorf("%w, and so are all its records", errDamaged)
	}
}

// ReadAt reads what the segment holds.
func (s *segment) ReadAt(p []byte, off int64) (int, error) {
	if s.file != nil {
		return s.file.ReadAt(p, off)
	}
	end := s.end.Load()
	if off >= end {
		return 0, io.EOF
	}
	n := copy(p, s.mem[off:end])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// write appends records.
func (s *segment) write(data []byte) error {
	if s.file == nil {
		copy(s.mem[s.end.Load():], data)
	} else if err := writeAll(s.file, data, s.end.Load()); err != nil {
		return err
	} else {
		s.unsynced = append(s.unsynced, data...)
	}
	s.end.Add(int64(len(data)))
	return nil
}

func writeAll(f file, data []byte, at int64) error {
	n, err := f.WriteAt(data, at)
	if err == nil && n < len(data) {
		err = io.ErrShortWrite
	}
	return err
}

// load reads all records. What the disk does not give is zero.
func (s *segment) load() []byte {
	data, _ := s.loadAll()
	return data
}

// loadAll is load, and says whether the disk gives all.
func (s *segment) loadAll() (_ []byte, all bool) {
	data := make([]byte, max(s.end.Load()-segmentHead, 0))
	n, all := s.read(data, segmentHead)
	return data[:n], all
}

// blockBytes is what a disk that has a bad spot does not give.
const blockBytes = 4096

// read fills p with what is at off, as far as there is anything. What the disk does not give is zero, and so is damaged; then
// all is false.
func (s *segment) read(p []byte, off int64) (n int, all bool) {
	n, err := s.ReadAt(p, off)
	if err == nil || errors.Is(err, io.EOF) {
		return n, true
	}
	for at := 0; at < len(p); {
		block := p[at:min(len(p), at+blockBytes-int((off+int64(at))%blockBytes))]
		if n, err := s.ReadAt(block, off+int64(at)); errors.Is(err, io.EOF) {
			return at + n, false
		} else if err != nil {
			clear(block)
		}
		at += len(block)
	}
	return len(p), false
}

// close lets go of the file.
func (s *segment) close() error {
	s.gone.Store(true)
	s.unsynced, s.mem = nil, nil
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
