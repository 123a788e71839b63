package metrics

import "time"

var (
	fleetConnected  = desc("fleet_connected", "1 while the agent is connected to the fleet's store, else 0; left out without a store.")
	fleetSynced     = desc("fleet_last_sync_timestamp_seconds", "When states were last asked for; left out if they never were.")
	fleetRoundTrip  = desc("fleet_sync_seconds", "How long the last sync took.")
	fleetGeneration = desc("fleet_generation", "Generation of states that counts.")
	fleetStates     = desc("fleet_states", "Rules to which the fleet gives a state.")
	fleetErrors     = desc("fleet_errors_total", "Failures of the link to the fleet's store since the agent started.")
	fleetClone      = desc("fleet_clone", "1 if several machines say that they are this host, else 0.")
	fleetStale      = desc("fleet_stale", "How many things are older than they should be: states, rules, what the store knows of them.")
)

// link tells of the one to the fleet's store, if there is one.
func (c *collector) link(out sender) {
	s, is := c.fleet.FleetStatus()
	if !is {
		return
	}
	out.gauge(fleetConnected, number(s.Connected))
	if !s.Synced.IsZero() {
		out.gauge(fleetSynced, float64(s.Synced.UnixNano())/1e9)
	}
	out.gauge(fleetRoundTrip, s.RoundTrip.Seconds())
	out.gauge(fleetGeneration, float64(s.Generation))
	out.gauge(fleetStates, float64(s.States))
	out.counter(fleetErrors, float64(s.Errors))
	out.gauge(fleetClone, number(s.Clone))
	out.gauge(fleetStale, float64(len(s.Stale(time.Now()))))
}

func number(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
