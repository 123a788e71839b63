package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"bittern/internal/require"
	"bittern/internal/rules"
)

func TestMain(m *testing.M) {
	if path := os.Getenv("BITTERN_TEST_CONNECT"); path != "" {
		connect(path)
	}
	goleak.VerifyTestMain(m)
}

// agent is one with two rules, that keeps states and does nothing else.
type agent struct {
	mu     sync.Mutex
	states map[string]rules.RuleState
	failed error
}

func (a *agent) Status(context.Context) (Status, error) {
	return Status{Version: "v1", Epoch: 7}, a.failed
}

func (a *agent) Rules(context.Context) ([]Rule, error) {
	return []Rule{{ID: "R1", Version: 2, Condition: Live}, {ID: "R2", Condition: Disabled}}, a.failed
}

func (a *agent) Rule(_ context.Context, id string) (RuleDetail, error) {
	if id != "R1" {
		return RuleDetail{}, ErrNoRule
	}
	return RuleDetail{Rule: Rule{ID: "R1"}, Document: "rule_id: R1\n"}, nil
}

func (a *agent) Why(_ context.Context, id string) (Why, error) {
	if id != "R1" {
		return Why{}, ErrNoRule
	}
	return Why{Rule: Rule{ID: "R1", Classes: []string{"process_exec"}}, Findings: []Finding{{Silencing: true, Text: "it is disabled"}}}, nil
}

func (a *agent) States(context.Context) (map[string]rules.RuleState, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.states), a.failed
}

func (a *agent) SetState(_ context.Context, id string, state rules.RuleState, by string) (rules.RuleState, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed != nil {
		return rules.RuleState{}, a.failed
	}
	state.SetBy = by
	a.states = map[string]rules.RuleState{id: state}
	return state, nil
}

func (a *agent) Doctor(context.Context) (Doctor, error) {
	return Doctor{Kernel: "6.1.0", Classes: []Hook{{Class: "file_open", Hook: "lsm/file_open", Refused: []Refusal{}}}, Missing: []string{}}, a.failed
}
func (a *agent) Settings() map[string]Setting {
	return map[string]Setting{"slots": {Value: "8192", Source: "default", Changes: "restart"}}
}

func serve(t *testing.T) (*agent, *Server, *Client) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "agent.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{}
	s := New(a, slog.New(slog.DiscardHandler))
	s.Serve(l)
	c := NewClient(path, "")
	t.Cleanup(func() {
		c.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the socket is left: %v", err)
		}
	})
	return a, s, c
}

func TestAnswers(t *testing.T) {
	a, _, c := serve(t)
	ctx := t.Context()
	if s, err := c.Status(ctx); err != nil || s.Epoch != 7 {
		t.Errorf("got %+v, %v", s, err)
	}
	if all, err := c.Rules(ctx); err != nil || len(all) != 2 || all[0].Condition != Live {
		t.Errorf("got %+v, %v", all, err)
	}
	if r, err := c.Rule(ctx, "R1"); err != nil || r.Document != "rule_id: R1\n" {
		t.Errorf("got %+v, %v", r, err)
	}
	if _, err := c.Rule(ctx, "R/3?"); !errors.Is(err, ErrNoRule) {
		t.Errorf("got %v", err)
	}
	if w, err := c.Why(ctx, "R1"); err != nil || len(w.Findings) != 1 || !w.Findings[0].Silencing {
		t.Errorf("got %+v, %v", w, err)
	}
	if _, err := c.Why(ctx, "R3"); !errors.Is(err, ErrNoRule) {
		t.Errorf("got %v", err)
	}
	if d, err := c.Doctor(ctx); err != nil || d.Kernel != "6.1.0" || d.Classes[0].Hook != "lsm/file_open" {
		t.Errorf("got %+v, %v", d, err)
	}
	if all, err := c.Settings(ctx); err != nil || all["slots"].Source != "default" {
		t.Errorf("got %+v, %v", all, err)
	}
	a.failed = errors.New("kernel gone")
	if _, err := c.Status(ctx); err == nil || err.Error() != "kernel gone" {
		t.Errorf("got %v", err)
	}
	a.failed = ErrStarting
	if _, err := c.Doctor(ctx); !errors.Is(err, ErrStarting) {
		t.Errorf("got %v", err)
	}
	if err := c.do(ctx, http.MethodGet, "/v1/nothing", nil, nil); err == nil || !strings.Contains(err.Error(), "nothing at GET /v1/nothing") {
		t.Errorf("got %v", err)
	}
}

func TestStatesAreSet(t *testing.T) {
	a, _, c := serve(t)
	ctx := t.Context()
	half, later := 0.5, time.Now().Add(time.Hour)
	got, err := c.SetState(ctx, "R1", State{State: "clipped", ConfidenceMax: &half, ExpiresAt: &later, Reason: "noisy"})
	if err != nil || got.State != "clipped" || *got.ConfidenceMax != half || !got.ExpiresAt.Equal(later) || got.Reason != "noisy" {
		t.Fatalf("got %+v, %v", got, err)
	}
	me, err := exec.Command("id", "-un").Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.TrimSpace(string(me)); got.SetBy != want {
		t.Errorf("set by %q, want %q", got.SetBy, want)
	}
	c.by = "alice"
	if got, err = c.SetState(ctx, "R1", State{State: "disabled"}); err != nil || !strings.HasPrefix(got.SetBy, "alice as ") {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err = c.ClearState(ctx, "R1"); err != nil || got.State != "enabled" {
		t.Errorf("got %+v, %v", got, err)
	}
	past := time.Now().Add(-time.Second)
	before := a.states["R1"]
	for want, s := range map[string]State{
		"want enabled, disabled or clipped": {State: "off"},
		"which needs it":                    {State: "clipped"},
		"belongs to state clipped":          {State: "disabled", ConfidenceMax: &half},
		"is past":                           {State: "disabled", ExpiresAt: &past},
		"filled in by the agent":            {State: "disabled", SetBy: "bob"},
		"and scope are filled in":           {State: "disabled", Scope: "fleet"},
	} {
		if _, err := c.SetState(ctx, "R1", s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := c.SetState(ctx, "R 1", State{State: "disabled"}); err == nil {
		t.Error("a malformed id is taken")
	}
	for want, body := range map[string]any{
		"unknown field": map[string]any{"state": "disabled", "expires": "never"},
		"reading":       []int{1},
	} {
		if err := c.do(ctx, http.MethodPut, "/v1/states/R1", body, &got); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if now := a.states["R1"]; !now.Equal(before) {
		t.Errorf("what was refused has changed something: %+v", now)
	}
	a.failed = errors.New("disk full")
	if _, err := c.SetState(ctx, "R1", State{State: "disabled"}); err == nil || err.Error() != "disk full" {
		t.Errorf("got %v", err)
	}
}

func TestSocket(t *testing.T) {
	_, _, c := serve(t)
	info, err := os.Stat(c.path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the socket has mode %v, %v", info.Mode(), err)
	}
	if _, err := Listen(c.path); !errors.Is(err, ErrRunning) {
		t.Errorf("a second agent: %v", err)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("after that the first does not answer: %v", err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("in the place of a file: %v", err)
	}
	if _, err := Listen(filepath.Join(dir, strings.Repeat("long", 30))); err == nil || !strings.Contains(err.Error(), "a socket's path can have 107") {
		t.Errorf("a path that is too long: %v", err)
	}
	stale := filepath.Join(dir, "stale.sock")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	for _, nobody := range []string{stale, filepath.Join(dir, "nothing.sock")} {
		client := NewClient(nobody, "")
		if _, err := client.Status(t.Context()); !errors.Is(err, ErrNotRunning) {
			t.Errorf("%s: %v", nobody, err)
		}
	}
	l, err := Listen(stale)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// connect tries to get an answer, and says how that ended.
func connect(path string) {
	c := NewClient(path, "")
	_, err := c.Status(context.Background())
	fmt.Println(err)
	os.Exit(0)
}

// TestOthersGetNoAnswer asks as a user who is not root, first kept out by the mode of the socket, and
// then by who it is.
func TestOthersGetNoAnswer(t *testing.T) {
	require.Root(t)
	_, _, c := serve(t)
	program := filepath.Join(t.TempDir(), "control.test")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, data, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{c.path, program} {
		for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
			if info, err := os.Stat(dir); err == nil && info.Mode()&0o001 == 0 && strings.Contains(dir, t.Name()) {
				if err := os.Chmod(dir, info.Mode()|0o011); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	ask := func(uid uint32) string {
		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), "BITTERN_TEST_CONNECT="+c.path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("asking as %d: %v\n%s", uid, err, out)
		}
		return string(out)
	}
	if got := ask(0); got != "<nil>\n" {
		t.Fatalf("root gets %q", got)
	}
	const other = 65534
	for _, mode := range []fs.FileMode{0o600, 0o666} {
		if err := os.Chmod(c.path, mode); err != nil {
			t.Fatal(err)
		}
		if got := ask(other); !strings.Contains(got, "(run as root)") {
			t.Errorf("mode %o: another user gets %q", mode, got)
		}
	}
}
