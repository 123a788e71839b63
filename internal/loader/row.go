package loader

import "fmt"

// cellPlace names one cell of a row: the group and the block of slots that its
// bits are for.
type cellPlace uint32

func placeOf(slot slotID, group uint8) cellPlace {
	return cellPlace(group)<<16 | cellPlace(slot/slotsPerCell)
}

// sparseCells is how many cells a row has at least that moves for having few with bits.
const sparseCells = 8

func slotBit(slot slotID) uint64 { return 1 << (slot % slotsPerCell) }

// row is what a key leads to: a list of cells. The cells themselves are in the
// kernel's memory; this is where they are.
type row struct {
	id     uint32
	offset uint32               // of the first cell
	used   uint32               // cells that the kernel reads
	size   uint32               // cells of room, a power of two, or 0
	full   uint32               // cells of those used that have bits
	at     map[cellPlace]uint32 // index of each cell
}

// rowTable is the single writer's side of the rows and cells maps. A program may
// read a row at any moment: a cell is added behind the last one and then counted
// in, or the row moves to a larger place by one store. What a program may still
// be reading is not reused before reuse is called, a grace period later.
type rowTable struct {
	rows, hits, cells *words
	freeRows          []uint32
	nextRow           uint32
	freeBlocks        [32][]uint32 // offsets, by the logarithm of the size
	nextCell          uint32
	retired           retiredRows
}

// retiredRows is what can be reused after a grace period.
type retiredRows struct {
	rows   []uint32
	blocks []cellBlock
}

func newRowTable(rows, hits, cells *words) *rowTable {
	return &rowTable{rows: rows, hits: hits, cells: cells}
}

// newRow returns an empty row.
func (t *rowTable) newRow() (*row, error) {
	r := &row{at: make(map[cellPlace]uint32, 1)}
	switch n := len(t.freeRows); {
	case n > 0:
		r.id, t.freeRows = t.freeRows[n-1], t.freeRows[:n-1]
	case int(t.nextRow) < t.rows.len():
		r.id = t.nextRow
		t.nextRow++
	default:
		return nil, fmt.Errorf("the kernel's table of %d rows is full: %w", t.rows.len(), ErrFull)
	}
	t.rows.store(int(r.id), 0)
	t.hits.store(int(r.id), 0)
	return r, nil
}

// copyRow returns a new row with the cells of r.
func (t *rowTable) copyRow(r *row) (*row, error) {
	c, err := t.newRow()
	if err != nil {
		return nil, err
	}
	for place, i := range r.at {
		if set := t.cells.load(int(r.offset+i)) & cellBits; set != 0 {
			if err := t.set(c, place, set); err != nil {
				t.drop(c)
				return nil, err
			}
		}
	}
	return c, nil
}

// drop gives a row up that no program can reach any more, but may be reading.
func (t *rowTable) drop(r *row) {
	t.retired.rows = append(t.retired.rows, r.id)
	if r.size > 0 {
		t.retired.blocks = append(t.retired.blocks, cellBlock{r.offset, r.size})
	}
	*r = row{}
}

// hit reports whether an event has hit the row since it was made.
func (t *rowTable) hit(r *row) bool { return t.hits.load(int(r.id)) != 0 }

// add makes hits of the row count for the group of the slot.
func (t *rowTable) add(r *row, slot slotID, group uint8) error {
	return t.set(r, placeOf(slot, group), slotBit(slot))
}

// remove undoes add. The cell stays, with no bits, for the next slot of its block, unless
// most cells of the row are so: every event that hits the row reads them all.
func (t *rowTable) remove(r *row, slot slotID, group uint8) {
	i, ok := r.at[placeOf(slot, group)]
	if !ok {
		return
	}
	at := int(r.offset + i)
	before := t.cells.load(at)
	after := before &^ slotBit(slot)
	t.cells.store(at, after)
	if before&cellBits != 0 && after&cellBits == 0 {
		r.full--
	}
	if r.used >= sparseCells && r.full < r.used/4 {
		_ = t.move(r) // without room for that, it stays as it is
	}
}

func (t *rowTable) set(r *row, place cellPlace, set uint64) error {
	if i, ok := r.at[place]; ok {
		at := int(r.offset + i)
		before := t.cells.load(at)
		t.cells.store(at, before|set)
		if before&cellBits == 0 {
			r.full++
		}
		return nil
	}
	if r.used == r.size {
		if err := t.move(r); err != nil {
			return err
		}
	}
	t.cells.store(int(r.offset+r.used), uint64(place)<<32|set)
	r.at[place] = r.used
	r.used++
	r.full++
	t.publish(r)
	return nil
}

// move moves a row to a place that has room for one more cell than have bits; the others are
// left behind.
func (t *rowTable) move(r *row) error {
	kept := make([]uint64, 0, r.used)
	for i := range r.used {
		if cell := t.cells.load(int(r.offset + i)); cell&cellBits != 0 {
			kept = append(kept, cell)
		}
	}
	size := uint32(1)
	for int(size) <= len(kept) {
		size *= 2
	}
	offset, err := t.block(size)
	if err != nil {
		return err
	}
	if r.size > 0 {
		t.retired.blocks = append(t.retired.blocks, cellBlock{r.offset, r.size})
	}
	clear(r.at)
	for i, cell := range kept {
		t.cells.store(int(offset)+i, cell)
		r.at[cellPlace(cell>>32)] = uint32(i)
	}
	r.offset, r.size, r.used, r.full = offset, size, uint32(len(kept)), uint32(len(kept))
	t.publish(r)
	return nil
}

// publish tells programs where the row's cells are, by one store.
func (t *rowTable) publish(r *row) {
	t.rows.store(int(r.id), uint64(r.offset)<<32|uint64(r.used))
}

// takeRetired returns what has been given up since the last call. After the next
// grace period it goes to reuse.
func (t *rowTable) takeRetired() retiredRows {
	r := t.retired
	t.retired = retiredRows{}
	return r
}

func (t *rowTable) reuse(r retiredRows) {
	t.freeRows = append(t.freeRows, r.rows...)
	for _, b := range r.blocks {
		t.free(b.offset, b.size)
	}
}
