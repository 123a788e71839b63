package agent

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"bittern/internal/control"
	"bittern/internal/loader"
	"bittern/internal/require"
	"bittern/internal/rules"
	"bittern/internal/rules/rulestest"
	"bittern/internal/rules/statefile"
)

// effects is a log that hands out when a state had its effect in the kernel: what is logged of a rule
// is logged when its commit has returned.
type effects struct {
	slog.Handler
	seen chan effect
}

type effect struct {
	message, rule string
	at            time.Time
}

func (e effects) Handle(_ context.Context, r slog.Record) error {
	now := time.Now()
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "rule_id" {
			e.seen <- effect{r.Message, a.Value.String(), now}
		}
		return a.Key != "rule_id"
	})
	return nil
}

func (e effects) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

func (e effects) WithAttrs([]slog.Attr) slog.Handler { return e }

// next returns the next message of its kind.
func (e effects) next(b *testing.B, message string) effect {
	b.Helper()
	patience := time.After(30 * time.Second)
	for {
		select {
		case got := <-e.seen:
			if got.message == message {
				return got
			}
		case <-patience:
			b.Fatalf("not logged: %s", message)
		}
	}
}

// statedAgent runs an agent with 4,096 rules, of which all but one have a state or none has.
func statedAgent(b *testing.B, stated bool) (*Agent, effects, string) {
	b.Helper()
	require.Root(b)
	require.BPF(b)
	dir, states := b.TempDir(), filepath.Join(b.TempDir(), "states")
	edits := make(map[string]rules.RuleState)
	for i := range 4096 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("c%d.yml", i)), []byte(rulestest.CorpusRule(i, 1)), 0o600); err != nil {
			b.Fatal(err)
		}
		state := rules.RuleState{State: rules.Disabled, Reason: "a reason of usual length", SetBy: "somebody", SetAt: time.Now()}
		if i%2 == 0 {
			state.State, state.ConfidenceMax = rules.Clipped, 0.25
		}
		if i%4 < 2 {
			state.ExpiresAt = time.Now().Add(1000 * time.Hour)
		}
		if stated && i > 0 {
			edits[fmt.Sprint("C", i)] = state
		}
	}
	if _, err := statefile.In(states).Set(edits); err != nil {
		b.Fatal(err)
	}
	log := effects{Handler: slog.DiscardHandler, seen: make(chan effect, 8192)}
	a, err := New(Config{
		Rules:  func() (string, error) { return dir, nil },
		States: states, Socket: filepath.Join(b.TempDir(), "agent.sock"), Kernel: loader.Config{Cgroup: require.Cgroup(b)}, Output: io.Discard, Log: slog.New(log),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := a.Stop(); err != nil {
			b.Error(err)
		}
	})
	if err := a.Start(); err != nil {
		b.Fatal(err)
	}
	return a, log, states
}

func reportTimes(b *testing.B, what string, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/1e6, what+"p50-ms")
	b.ReportMetric(float64(took[min(len(took)*99/100, len(took)-1)])/1e6, what+"p99-ms")
}

// BenchmarkStateChange disables and enables a rule in turn: by SetState, through the control socket as the
// command does it, and by an edit of the file. It measures from the call until the kernel's commit has
// returned, writing to the disk included; of the socket, until the answer is there, which comes
// after that; and of the edit, also from when that is done and only the agent is left.
func BenchmarkStateChange(b *testing.B) {
	for _, others := range []string{"no others", "4095 others"} {
		a, log, states := statedAgent(b, others != "no others")
		client := control.NewClient(a.cfg.Socket, "bench")
		b.Cleanup(client.Close)
		for _, by := range []string{"SetState", "socket", "edit"} {
			b.Run(by+"/"+others, func(b *testing.B) {
				file := statefile.In(states)
				var whole, after []time.Duration
				off := false
				change := func() {
					state, message := rules.RuleState{}, "rule live"
					if off = !off; off {
						state, message = rules.RuleState{State: rules.Disabled, SetBy: "bench", SetAt: time.Now().Round(0)}, "rule state set"
					}
					start := time.Now()
					var err error
					switch by {
					case "SetState":
						err = a.store.SetState("C0", state, "bench")
					case "socket":
						_, err = client.SetState(b.Context(), "C0", control.State{State: state.State.String()})
					default:
						_, err = file.Set(map[string]rules.RuleState{"C0": state})
					}
					written := time.Now()
					if err != nil {
						b.Fatal(err)
					}
					live := log.next(b, message).at
					if by == "socket" {
						live = written
					}
					whole, after = append(whole, live.Sub(start)), append(after, live.Sub(written))
				}
				for b.Loop() {
					change()
				}
				if off {
					change() // as it was
				}
				b.ReportMetric(0, "ns/op")
				reportTimes(b, "", whole)
				reportTimes(b, "after-write-", after)
			})
		}
	}
}

// BenchmarkExpiry measures from the moment at which a state expires until its rule is live: of 32 rules,
// one after the other.
func BenchmarkExpiry(b *testing.B) {
	const batch, lead, apart = 32, 2 * time.Second, 100 * time.Millisecond
	for _, others := range []string{"no others", "4064 others"} {
		b.Run(others, func(b *testing.B) {
			_, log, states := statedAgent(b, others != "no others")
			var took []time.Duration
			for b.Loop() {
				edits, due := make(map[string]rules.RuleState), make(map[string]time.Time)
				first := time.Now().Round(0).Add(lead)
				for i := range batch {
					id := fmt.Sprint("C", i)
					due[id] = first.Add(time.Duration(i) * apart)
					edits[id] = rules.RuleState{State: rules.Disabled, ExpiresAt: due[id], SetBy: "bench"}
				}
				if _, err := statefile.In(states).Set(edits); err != nil {
					b.Fatal(err)
				}
				for range batch {
					log.next(b, "rule state set")
				}
				for range batch {
					live := log.next(b, "rule live")
					took = append(took, live.at.Round(0).Sub(due[live.rule]))
				}
			}
			b.ReportMetric(0, "ns/op")
			reportTimes(b, "", took)
		})
	}
}
