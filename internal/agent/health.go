package agent

import (
	"errors"
	"log/slog"
	"time"

	"bittern/internal/rules/fsstore"
)

// watchHealth asks at each tick how something is, until quit is closed. An agent whose rules
// are not watched any more goes on detecting, so that nothing else would tell.
func watchHealth(health func() error, log *slog.Logger, ticks <-chan time.Time, quit <-chan struct{}) {
	last := ""
	for {
		select {
		case <-quit:
			return
		case <-ticks:
		}
		err := health()
		switch {
		case errors.Is(err, fsstore.ErrStopped):
			return // with the agent
		case err == nil && last == "":
		case err == nil:
			log.Info("rules are watched again")
			last = ""
		case err.Error() != last:
			log.Error("edits of rules have no effect", "error", err)
			last = err.Error()
		}
	}
}
