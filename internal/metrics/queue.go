package metrics

import "bittern/internal/outbox"

var (
	outboxRecords  = desc("outbox_records", "Records in the outbox, also those that all sinks have and that are not removed yet.", "tier")
	outboxBytes    = desc("outbox_bytes", "Bytes that the outbox takes on the disk.", "tier")
	outboxMemory   = desc("outbox_memory_bytes", "Bytes of the outbox that are in memory only, since the disk has failed.")
	outboxQuota    = desc("outbox_quota_bytes", "Bytes that the outbox may take on the disk.")
	outboxAppended = desc("outbox_appended_records_total", "Records that went into the outbox since the agent started.")
	outboxErrors   = desc("outbox_disk_errors_total", "Failures of the outbox's disk since the agent started.")
	outboxLost     = desc("outbox_lost_records_total", "Records that the outbox has lost, ever: the ledger outlives the agent.", "cause", "sink")

	sinkPending   = desc("sink_pending_records", "Records that a sink has still to get.", "sink")
	sinkOldest    = desc("sink_oldest_pending_timestamp_seconds", "When the oldest record happened that a sink is about to deliver; left out if there is none.", "sink")
	sinkDelivered = desc("sink_delivered_records_total", "Records that a sink has delivered since the agent started.", "sink")
	sinkErrors    = desc("sink_errors_total", "Failures of a sink since the agent started; each is tried again.", "sink")
	sinkLast      = desc("sink_last_delivery_timestamp_seconds", "When a sink has delivered something last; left out if it has not.", "sink")
)

func (c *collector) outbox(out sender) {
	s := c.queue.Stats()
	var memory int64
	for tier, n := range s.Tiers {
		name := outbox.Tier(tier).String()
		out.gauge(outboxRecords, float64(n.Records), name)
		out.gauge(outboxBytes, float64(n.Bytes), name)
		memory += n.Memory
	}
	out.gauge(outboxMemory, float64(memory))
	out.gauge(outboxQuota, float64(s.Quota))
	out.counter(outboxAppended, float64(s.Appended))
	out.counter(outboxErrors, float64(s.DiskErrors))
	type key struct{ cause, sink string }
	lost := make(map[key]uint64)
	for _, cause := range []outbox.Cause{outbox.Full, outbox.NoDisk, outbox.Damaged} {
		lost[key{string(cause), ""}] = 0 // a rate needs the zero
	}
	for _, l := range c.queue.Losses() {
		switch l.Cause {
		case outbox.Full, outbox.NoDisk, outbox.Damaged: // others are counted where they are lost
			lost[key{string(l.Cause), l.Sink}] += l.Count
		}
	}
	for k, n := range lost {
		out.counter(outboxLost, float64(n), k.cause, k.sink)
	}
	for _, r := range s.Readers {
		out.gauge(sinkPending, float64(r.Pending), r.Name)
		if !r.Oldest.IsZero() {
			out.gauge(sinkOldest, float64(r.Oldest.UnixNano())/1e9, r.Name)
		}
	}
	for name, n := range c.queue.SinkStats() {
		out.counter(sinkDelivered, float64(n.Delivered), name)
		out.counter(sinkErrors, float64(n.Errors), name)
		if !n.Last.IsZero() {
			out.gauge(sinkLast, float64(n.Last.UnixNano())/1e9, name)
		}
	}
}
