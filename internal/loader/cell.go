package loader

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
)

// cellBlock is cells that lie side by side, for one row: as many as a power of two.
type cellBlock struct{ offset, size uint32 }

// block finds room for a row.
func (t *rowTable) block(size uint32) (uint32, error) {
	class := bits.TrailingZeros32(size)
	if free := t.freeBlocks[class]; len(free) > 0 {
		t.freeBlocks[class] = free[:len(free)-1]
		return free[len(free)-1], nil
	}
	if int(t.nextCell)+int(size) <= t.cells.len() {
		offset := t.nextCell
		t.nextCell += size
		return offset, nil
	}
	if offset, ok := t.cut(class); ok {
		return offset, nil
	}
	t.join()
	if offset, ok := t.cut(class); ok {
		return offset, nil
	}
	return 0, fmt.Errorf("the kernel's table of %d cells is full: %w", t.cells.len(), ErrFull)
}

// cut takes a free block of the class, or cuts one from the smallest that is larger.
func (t *rowTable) cut(class int) (offset uint32, ok bool) {
	from := class
	for from < len(t.freeBlocks) && len(t.freeBlocks[from]) == 0 {
		from++
	}
	if from == len(t.freeBlocks) {
		return 0, false
	}
	free := t.freeBlocks[from]
	offset, t.freeBlocks[from] = free[len(free)-1], free[:len(free)-1]
	t.free(offset+1<<class, 1<<from-1<<class)
	return offset, true
}

// join makes the largest blocks that it can of all free cells that lie side by side.
func (t *rowTable) join() {
	var all []cellBlock
	for class, offsets := range t.freeBlocks {
		for _, offset := range offsets {
			all = append(all, cellBlock{offset, 1 << class})
		}
		t.freeBlocks[class] = nil
	}
	slices.SortFunc(all, func(a, b cellBlock) int { return cmp.Compare(a.offset, b.offset) })
	for len(all) > 0 {
		run := all[0]
		all = all[1:]
		for len(all) > 0 && all[0].offset == run.offset+run.size {
			run.size += all[0].size
			all = all[1:]
		}
		t.free(run.offset, run.size)
	}
}

// free makes any number of cells free, as blocks of which the largest come first.
func (t *rowTable) free(offset, cells uint32) {
	for cells > 0 {
		class := bits.Len32(cells) - 1
		t.freeBlocks[class] = append(t.freeBlocks[class], offset)
		offset += 1 << class
		cells -= 1 << class
	}
}
