package outbox

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"
)

// raw puts bytes on a disk as a file.
func raw(d *simDisk, name string, data []byte) {
	d.names[name] = &simFile{cache: bytes.Clone(data), platter: bytes.Clone(data)}
}

func FuzzSegment(f *testing.F) {
	disk := newSimDisk(1)
	l, err := Open(Config{Quota: LeastQuota, disk: disk, still: true, Log: discard})
	if err != nil {
		f.Fatal(err)
	}
	for n := range 9 {
		if err := l.Append(numbered(n, Tier(n%3))); err != nil {
			f.Fatal(err)
		}
	}
	for name, file := range disk.names {
		if _, _, _, ok := parseSegmentName(name); ok {
			f.Add(file.cache[:1024], false)
			f.Add(file.cache[segmentHead:1024], true)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, head bool) {
		s := newSegment(High, 1, 1, 1)
		if head {
			data = append(s.appendHead(nil), data...)
		}
		disk := newSimDisk(1)
		raw(disk, s.name, data)
		l := open(t, Config{Quota: LeastQuota, disk: disk, still: true, Readers: []ReaderConfig{{"a", AllKinds}}})
		var last uint64
		for _, r := range drain(t, l.Reader("a")) {
			if r.Seq <= last && r.Tier == High {
				t.Logf("sequence %d comes after %d", r.Seq, last) // a file can say so
			}
			last = r.Seq
			if !bytes.Contains(data, appendRecord(nil, &r)[:recordHead]) {
				t.Fatalf("a record that is not there: %v", r)
			}
		}
		fill(l, 1, High, 0)
		if got := drain(t, l.Reader("a")); len(got) != 1 {
			t.Errorf("%d records behind it, want 1", len(got))
		}
		closeLog(t, l)
	})
}

func FuzzBook(f *testing.F) {
	f.Add([]byte(`{"losses":[{"cause":"x","count":1,"first":"2026-01-01T00:00:00Z"}],"given":["00"],"missing":{"00":1}}`), true)
	f.Add([]byte(`{"losses":[null]}`), true)
	f.Add([]byte(ledgerMagic), false)
	f.Fuzz(func(t *testing.T, data []byte, sound bool) {
		if sound { // but for the document
			head := append([]byte(ledgerMagic), make([]byte, ledgerHead-len(ledgerMagic))...)
			binary.LittleEndian.PutUint32(head[4:], uint32(len(data)))
			binary.LittleEndian.PutUint64(head[8:], 1)
			binary.LittleEndian.PutUint32(head[16:], crc32.Update(crc32.Checksum(head[:16], castagnoli), castagnoli, data))
			data = append(head, data...)
		}
		disk := newSimDisk(1)
		raw(disk, ledgerFile, data)
		l := open(t, Config{Quota: LeastQuota, disk: disk, still: true})
		before := len(l.Losses())
		closeLog(t, l)
		disk.kill()
		l = open(t, Config{Quota: LeastQuota, disk: disk, still: true})
		if after := len(l.Losses()); after != before {
			t.Errorf("%d losses, and there were %d", after, before)
		}
	})
}

func FuzzCursors(f *testing.F) {
	f.Add(bytes.Repeat([]byte(cursorMagic), 64), []byte("name"))
	f.Fuzz(func(t *testing.T, data, tail []byte) {
		disk := newSimDisk(1)
		raw(disk, cursorsFile, append(data, tail...))
		l := open(t, Config{Quota: LeastQuota, disk: disk, still: true, Readers: []ReaderConfig{{"a", AllKinds}, {"b", AllKinds}}})
		fill(l, 3, High, 0)
		for _, r := range l.readers {
			if n := len(drain(t, r)); n != 3 {
				t.Errorf("%d records, want 3", n)
			}
		}
		closeLog(t, l)
	})
}
