package outbox

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
)

// segmentName sorts as the segments of a tier do.
func segmentName(tier Tier, first uint64, made uint32) string {
	return fmt.Sprintf("%s-%016x-%08x%s", tier, first, made, segmentSuffix)
}

// parseSegmentName is the reverse; false if it is no segment's name.
func parseSegmentName(name string) (tier Tier, first uint64, made uint32, ok bool) {
	parts := strings.Split(strings.TrimSuffix(name, segmentSuffix), "-")
	if len(parts) != 3 || !strings.HasSuffix(name, segmentSuffix) {
		return 0, 0, 0, false
	}
	tier = Tier(slices.Index(tierNames[:], parts[0]))
	first, firstErr := strconv.ParseUint(parts[1], 16, 64)
	n, madeErr := strconv.ParseUint(parts[2], 16, 32)
	return tier, first, uint32(n), tier < tiers && firstErr == nil && madeErr == nil && first > 0
}

// appendHead appends the header.
func (s *segment) appendHead(dst []byte) []byte {
	le, start := binary.LittleEndian, len(dst)
	dst = append(dst, segmentMagic...)
	flags, covers, records := byte(0), uint64(0), uint32(0)
	if s.sealed {
		flags, covers = flagSealed, s.next-1
	}
	if s.merged {
		flags |= flagMerged
		records = uint32(s.records)
	}
	dst = append(dst, byte(s.tier), flags, 0, 0)
	dst = le.AppendUint32(dst, s.made)
	dst = append(dst, s.id[:]...)
	dst = le.AppendUint64(dst, s.first)
	dst = le.AppendUint64(dst, s.firstSeq)
	dst = le.AppendUint64(dst, covers)
	dst = le.AppendUint32(dst, records)
	return le.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// readHead reads the header of a segment.
func readHead(data []byte) (*segment, error) {
	switch {
	case len(data) < segmentHead || string(data[:7]) != segmentMagic[:7]:
		return nil, errDamaged
	case data[7] != segmentMagic[7]:
		return nil, fmt.Errorf("%w: format %d, want %d", errFormat, data[7], segmentMagic[7])
	}
	le := binary.LittleEndian
	s := &segment{tier: Tier(data[8]), made: le.Uint32(data[12:]), first: le.Uint64(data[32:]), firstSeq: le.Uint64(data[40:])}
	copy(s.id[:], data[16:])
	s.merged, s.sealed = data[9]&flagMerged != 0, data[9]&flagSealed != 0
	if s.sealed {
		s.next = le.Uint64(data[48:]) + 1
	}
	s.records = uint64(le.Uint32(data[56:]))
	if le.Uint32(data[60:]) != crc32.Checksum(data[:60], castagnoli) || s.tier >= tiers || s.first == 0 || s.firstSeq == 0 {
		return nil, errDamaged
	}
	return s, nil
}
