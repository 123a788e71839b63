package loader

import "unsafe"

// Words of struct control_block: the epoch, then a struct class_use for each class.
const (
	controlEpoch = iota
	controlUse   // of class 0

	classUseWords = int(unsafe.Sizeof(execClassUse{}) / 8)
	looksWords    = int(unsafe.Sizeof(execLooks{}) / 8)
	lengthsWord   = 2 * looksWords // in struct class_use
)

// Parts of struct class_use.
const (
	lookAll = iota
	lookFirst
)

// lookWord gives the word of struct looks for a table.
var lookWord = [3]int{textTable: 0, gramTable: 1, numberTable: 2}

// What follows keeps bits by which programs skip look-ups that find nothing, or that no live
// rule needs. A bit is set before the key that needs it is there, or the epoch; it is cleared
// after the last one.

// useLook says that keys of a kind are in use.
func (x *index) useLook(key indexKey, part, by int) {
	word := controlUse + classUseWords*int(key.class()) + looksWords*part + lookWord[key.table]
	x.useBit(x.control, word*64+int(key.bit()), by)
}

// useFilter says that the filter of a table holds a key.
func (x *index) useFilter(key indexKey, by int) {
	switch key.table {
	case gramTable:
		x.useBit(x.filters, filterBit(execFilterOfFILTER_GRAMS, key.gramHash()), by)
	case textTable:
		length, hash := key.beginning()
		field, way := key.bit()/uint32(execKeyWayWAYS), key.bit()%uint32(execKeyWayWAYS)
		word := controlUse + classUseWords*int(key.class()) + lengthsWord + int(field/2)
		x.useBit(x.control, word*64+int(field%2*32+way*8+length-1), by)
		x.useBit(x.filters, filterBit(execFilterOfFILTER_TEXTS, hash), by)
	}
}

func filterBit(filter execFilterOf, hash uint32) int { return int(filter)<<filterBits + int(hash) }

// useBit counts who needs a bit. Bits of both memories are counted in one map: those of the
// filters are below zero.
func (x *index) useBit(memory *words, bit, by int) {
	id := bit
	if memory == x.filters {
		id = -1 - bit
	}
	x.bitUses[id] += by
	word, mask := bit/64, uint64(1)<<(bit%64)
	switch x.bitUses[id] {
	case 0:
		delete(x.bitUses, id)
		memory.store(word, memory.load(word)&^mask)
	case 1:
		memory.store(word, memory.load(word)|mask)
	}
}
