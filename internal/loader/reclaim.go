package loader

import "runtime"

// reclaimChunk is how many keys of slots are cleared, about, before a waiting commit gets its turn.
const reclaimChunk = 1024

// burial is what one grace period sets free.
type burial struct {
	dead   []*version
	rows   retiredRows
	keys   []indexKey
	passed bool // the grace period has
}

func (b *burial) empty() bool {
	return len(b.dead) == 0 && len(b.rows.rows) == 0 && len(b.rows.blocks) == 0 && len(b.keys) == 0
}

// takeBurial collects what waits for a grace period. The writer's lock is held.
func (k *Kernel) takeBurial() *burial {
	b := &burial{dead: k.dead, rows: k.rows.takeRetired(), keys: k.index.takeDeleted()}
	k.dead = nil
	return b
}

// reclaim runs in the background: one grace period serves all that has died since
// the last one.
func (k *Kernel) reclaim() {
	for {
		select {
		case <-k.stop:
			return
		case <-k.reclaimer:
		}
		k.writer.Lock()
		b := k.takeBurial()
		if b.empty() {
			k.writer.Unlock()
			continue
		}
		k.waiting = b
		k.writer.Unlock()
		if err := k.grace.wait(); err != nil {
			// Without grace periods nothing may ever be reused. The next kick tries
			// again; until then the tables fill up, and commits say so.
			k.log.Error("reclaiming dead rule versions", "error", err)
			k.writer.Lock()
			if k.waiting == b {
				k.waiting = nil
				k.unbury(b)
			}
			k.writer.Unlock()
			continue
		}
		k.writer.Lock()
		k.graces++
		if k.waiting == b { // else a commit could not wait, and has done it
			b.passed = true
			k.clear(b, true)
			if k.waiting == b {
				k.waiting = nil
			}
			// Not in reclaimNow: what it deletes the waiting commit might want.
			if err := k.index.evict(); err != nil {
				k.log.Error("deleting keys that no rule uses", "error", err)
			}
		}
		k.writer.Unlock()
		if k.journal != nil {
			if err := k.journal.compact(k.versions); err != nil {
				k.log.Error("keeping the journal short", "error", err)
			}
		}
	}
}

// reclaimNow waits for a grace period with the writer's lock held, and clears what
// the background has taken as well. It is for commits that find no room.
func (k *Kernel) reclaimNow() error {
	if b := k.waiting; b != nil {
		k.waiting = nil
		if b.passed {
			k.clear(b, false)
		} else {
			k.unbury(b)
		}
	}
	b := k.takeBurial()
	if b.empty() {
		return nil
	}
	if err := k.grace.wait(); err != nil {
		k.unbury(b)
		return err
	}
	k.graces++
	k.clear(b, false)
	return nil
}

func (k *Kernel) unbury(b *burial) {
	k.dead = append(k.dead, b.dead...)
	k.rows.retired.rows = append(k.rows.retired.rows, b.rows.rows...)
	k.rows.retired.blocks = append(k.rows.retired.blocks, b.rows.blocks...)
	// Keys stay in the index's own list until they are allowed back.
}

// clear frees what no program can be using any more. The writer's lock is held, and
// given up now and then if yield is set: a commit that finds no room meanwhile clears the rest.
func (k *Kernel) clear(b *burial, yield bool) {
	k.rows.reuse(b.rows)
	k.index.allow(b.keys)
	b.rows, b.keys = retiredRows{}, nil
	var ids []uint64
	for cleared := 0; len(b.dead) > 0; {
		v := b.dead[0]
		if len(v.slots) == 0 {
			b.dead = b.dead[1:]
			ids = append(ids, v.id)
			continue
		}
		slot := v.slots[0]
		v.slots = v.slots[1:]
		cleared += 1 + slot.table.reclaim(slot.id)
		if yield && cleared >= reclaimChunk {
			cleared = 0
			k.writer.Unlock()
			runtime.Gosched() // or we are the next to have it, mostly
			k.writer.Lock()
		}
	}
	// Every record that names these versions is in the ring by now.
	k.versions.forget(ids, k.own.ring.produced())
}
