package fsstore

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
)

// journal keeps all that is logged, at every level, as "LEVEL message name=value ...".
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) Enabled(context.Context, slog.Level) bool { return true }
func (j *journal) WithAttrs([]slog.Attr) slog.Handler       { return j } // only the component
func (j *journal) WithGroup(string) slog.Handler            { return j }

func (j *journal) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
	return nil
}

// wantLog checks that what was logged since the start is lines that begin so, and nothing else.
func (f *fixture) wantLog(t testing.TB, want ...string) {
	t.Helper()
	f.log.mu.Lock()
	got := slices.Clone(f.log.lines)
	f.log.mu.Unlock()
	want = append([]string{"INFO watching rules directory dir=" + f.dir}, want...)
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("logged are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
