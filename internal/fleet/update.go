package fleet

import (
	"fmt"
	"log/slog"
	"time"

	"bittern/internal/db"
	"bittern/internal/rules"
	"bittern/internal/rules/fleetstate"
)

// updateOf is what the server says, as it is to be taken in. asked is what the boot clock said before the question.
func updateOf(news db.News, asked time.Duration, log *slog.Logger) fleetstate.Update {
	u := fleetstate.Update{Generation: news.Generation, Timeline: news.Timeline, Resync: news.Resync, Asked: asked}
	for _, s := range news.States {
		of := fleetstate.RuleStates{RuleID: s.RuleID}
		if !s.Deleted {
			for _, d := range append([]db.Decision{s.Decision}, s.Next...) {
				decision, err := decisionOf(d)
				if err != nil {
					// A newer server may know what we don't. The others count.
					log.Error("a state of the fleet can't be understood and does not count", "rule_id", s.RuleID, "scope", d.Scope, "error", err)
					continue
				}
				of.Decisions = append(of.Decisions, decision)
			}
		}
		u.Rules = append(u.Rules, of)
	}
	return u
}

func decisionOf(d db.Decision) (out fleetstate.Decision, err error) {
	state, known := rules.ParseState(d.State)
	if !known {
		return out, fmt.Errorf("unknown state %q", d.State)
	}
	out = fleetstate.Decision{State: state, Reason: d.Reason, SetBy: d.SetBy, SetAt: d.SetAt, Scope: d.Scope}
	if d.ConfidenceMax != nil {
		out.ConfidenceMax = *d.ConfidenceMax
	}
	if d.ExpiresIn != nil {
		// One that has expired on the way is over, not for ever.
		out.Lasts = max(seconds(*d.ExpiresIn), 1)
	}
	return out, nil
}

// mostLasts is as good as for ever.
const mostLasts = 100 * 365 * 24 * time.Hour

func seconds(s float64) time.Duration {
	if s >= mostLasts.Seconds() {
		return mostLasts
	}
	return time.Duration(s * float64(time.Second))
}
