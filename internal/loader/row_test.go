package loader

import (
	"errors"
	"testing"
)

// TestRoomOfCellsIsUsedAgain fills the cells with rows of one size, gives all of them up, and
// wants rows of another size: smaller ones are cut from larger ones, and larger ones made of
// smaller ones that lie side by side.
func TestRoomOfCellsIsUsedAgain(t *testing.T) {
	const cells = 256
	table := newRowTable(&words{words: make([]uint64, 2*cells)}, &words{words: make([]uint64, 2*cells)}, &words{words: make([]uint64, cells)})
	fill := func(size int) {
		t.Helper()
		var all []*row
		seen := make(map[uint32]bool)
		for range cells / size {
			r, err := table.newRow()
			if err != nil {
				t.Fatal(err)
			}
			offset, err := table.block(uint32(size))
			if err != nil {
				t.Fatalf("row %d of %d cells each: %v", len(all), size, err)
			}
			r.offset, r.size = offset, uint32(size)
			for i := range uint32(size) {
				if seen[offset+i] {
					t.Fatalf("cell %d is in two rows", offset+i)
				}
				seen[offset+i] = true
			}
			all = append(all, r)
		}
		if _, err := table.block(1); !errors.Is(err, ErrFull) {
			t.Errorf("one cell more than there are: %v, want %v", err, ErrFull)
		}
		for _, r := range all {
			table.drop(r)
		}
		table.reuse(table.takeRetired())
	}
	for _, size := range []int{64, 1, 16, 256, 2, 128} {
		fill(size)
	}
}

// TestRowsGetShortAgain hits a row for a slot in every block, as a storm of changes does, and
// takes all but one back.
func TestRowsGetShortAgain(t *testing.T) {
	const blocks = 256
	table := newRowTable(&words{words: make([]uint64, 1)}, &words{words: make([]uint64, 1)}, &words{words: make([]uint64, 4*blocks)})
	r, err := table.newRow()
	if err != nil {
		t.Fatal(err)
	}
	slot := func(block int) slotID { return slotID(block) * slotsPerCell }
	for block := range blocks {
		if err := table.add(r, slot(block), 1); err != nil {
			t.Fatal(err)
		}
	}
	for block := range blocks - 1 {
		table.remove(r, slot(block), 1)
	}
	span := table.rows.load(int(r.id))
	offset, used := int(span>>32), int(uint32(span))
	if used >= sparseCells {
		t.Errorf("programs read %d cells of which one has bits", used)
	}
	var got []uint64
	for i := range used {
		if cell := table.cells.load(offset + i); cell&cellBits != 0 {
			got = append(got, cell)
		}
	}
	if want := uint64(placeOf(slot(blocks-1), 1))<<32 | slotBit(slot(blocks-1)); len(got) != 1 || got[0] != want {
		t.Errorf("the row has %#x, want %#x", got, want)
	}
}
