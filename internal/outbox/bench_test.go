package outbox

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// benchRecord is a record of 1.5 KiB.
func benchRecord(n int, tier Tier) Record {
	r := numbered(n, tier)
	r.Text, r.JSON = make([]byte, 200), make([]byte, 1200)
	for i := range r.JSON {
		r.JSON[i] = byte('a' + (i*n)%26)
	}
	return r
}

// timed reports percentiles of what f takes, and how many records it does a second.
func timed(b *testing.B, each int, f func(n int)) {
	var took []time.Duration
	b.ReportAllocs()
	start := time.Now()
	for n := 0; b.Loop(); n++ {
		before := time.Now()
		f(n)
		took = append(took, time.Since(before))
	}
	b.ReportMetric(float64(each*len(took))/time.Since(start).Seconds(), "records/s")
	slices.Sort(took)
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(took[len(took)*p/100].Nanoseconds())/1e3, fmt.Sprintf("p%d-µs", p))
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, group := range []int{1, 32} {
		b.Run(fmt.Sprintf("outbox/%d", group), func(b *testing.B) {
			l := open(b, Config{Dir: b.TempDir()})
			some := make([]Record, group)
			for i := range some {
				some[i] = benchRecord(i, High)
			}
			timed(b, group, func(int) {
				if err := l.Append(some...); err != nil {
					b.Fatal(err)
				}
			})
			closeLog(b, l)
		})
	}
	r := benchRecord(1, High)
	data := appendRecord(nil, &r)
	for _, sync := range []bool{false, true} {
		b.Run(fmt.Sprintf("bare write/sync=%v", sync), func(b *testing.B) {
			f, err := directory{b.TempDir()}.Create("f", mostSegment)
			if err != nil {
				b.Fatal(err)
			}
			timed(b, 1, func(n int) {
				if err := writeAll(f, data, int64(n*len(data)%(mostSegment-len(data)))&^7); err != nil {
					b.Fatal(err)
				}
				if sync {
					if err := f.Sync(); err != nil {
						b.Fatal(err)
					}
				}
			})
			_ = f.Close()
		})
	}
}

// fullOutbox fills an outbox of the usual size, and drops it from the page cache.
func fullOutbox(b *testing.B, dir string) {
	l := open(b, Config{Dir: dir, Readers: []ReaderConfig{{"a", AllKinds}}})
	some := make([]Record, 64)
	for n := 0; ; n++ {
		if disk, _ := l.shelf.bytes(); disk >= DefaultQuota-8*mostSegment {
			break
		}
		for i := range some {
			some[i] = benchRecord(n*64+i, Tier(i%5))
		}
		if err := l.Append(some...); err != nil {
			b.Fatal(err)
		}
	}
	closeLog(b, l)
}

func forgetPages(b *testing.B, dir string) {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		_ = unix.Fdatasync(int(f.Fd()))
		if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
			b.Fatal(err)
		}
		_ = f.Close()
	}
}

// BenchmarkOpen opens a full outbox that is not in the page cache, and reads the first record.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	fullOutbox(b, dir)
	var opened, read time.Duration
	var m runtime.MemStats
	for b.Loop() {
		b.StopTimer()
		forgetPages(b, dir)
		b.StartTimer()
		start := time.Now()
		l := open(b, Config{Dir: dir, Readers: []ReaderConfig{{"a", AllKinds}}})
		opened += time.Since(start)
		if _, err := l.Reader("a").Read(context.Background()); err != nil {
			b.Fatal(err)
		}
		read += time.Since(start)
		b.StopTimer()
		runtime.GC()
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heap-MiB")
		b.ReportMetric(float64(residentKiB(b))/(1<<10), "rss-MiB")
		closeLog(b, l)
		b.StartTimer()
	}
	b.ReportMetric(opened.Seconds()*1e3/float64(b.N), "open-ms")
	b.ReportMetric(read.Seconds()*1e3/float64(b.N), "first-ms")
}

func residentKiB(b *testing.B) (n int) {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &n); err == nil {
			return n
		}
	}
	return 0
}

// BenchmarkMerge puts together the repeats of a full segment.
func BenchmarkMerge(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		l := open(b, Config{Dir: b.TempDir(), still: true, Readers: []ReaderConfig{{"a", AllKinds}}})
		for n := 0; len(l.shelf.tiers[Low]) < 2; n++ {
			r := benchRecord(n, Low)
			r.Group = uint64(n%100 + 1)
			if err := l.Append(r); err != nil {
				b.Fatal(err)
			}
		}
		l.Sync()
		b.StartTimer()
		l.mu.Lock()
		if !l.mergeOne() {
			b.Fatal("nothing to put together")
		}
		l.mu.Unlock()
		b.StopTimer()
		closeLog(b, l)
		b.StartTimer()
	}
}
