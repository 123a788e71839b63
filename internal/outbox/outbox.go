// Package outbox is the durable queue between what detects and what delivers. What was appended is there until every
// reader has acknowledged it, whatever dies: a killed agent, a machine without power, a disk that fails or is full. What
// cannot be kept any longer is counted, by rule and cause, in a ledger that outlives everything.
//
// It knows nothing of events: a record is a document with a few words about it. See docs/outbox.md for the files.
package outbox
