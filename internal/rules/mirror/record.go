package mirror

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// record is what is on disk of a publication.
type record struct {
	Manifest  string `json:"manifest"`
	KeyID     string `json:"key_id"`
	Signature []byte `json:"signature"`
}

// decide makes a publication the one that the rules directory is to be like.
func (m *Mirror) decide(p Publication) error {
	data, err := json.Marshal(record{string(p.Manifest), p.KeyID, p.Signature})
	if err != nil {
		return fmt.Errorf("writing down publication %s: %w", p.ID, err)
	}
	if err := m.put(m.in(newRecord), append(data, '\n')); err != nil {
		return err
	}
	if err := m.disk.rename(m.in(newRecord), m.in(recordName)); err != nil {
		return fmt.Errorf("writing down publication %s: %w", p.ID, err)
	}
	return m.syncAll(m.cfg.Dir)
}

// decided is the publication that was decided for, and its files. ok is false if there was none yet.
func (m *Mirror) decided() (p Publication, want map[string]File, ok bool, err error) {
	data, err := os.ReadFile(m.in(recordName))
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil, false, nil
	}
	if err != nil {
		return p, nil, false, fmt.Errorf("reading the publication taken: %w", err)
	}
	if p, err = readRecord(data); err != nil {
		return p, nil, false, fmt.Errorf("reading the publication taken, in %s: %w", m.in(recordName), err)
	}
	manifest, err := ParseManifest(p.Manifest)
	if err != nil {
		return p, nil, false, err
	}
	want, err = manifest.ReadPages(m.page)
	return p, want, err == nil, err
}

func readRecord(data []byte) (Publication, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return Publication{}, err
	}
	return Publication{ID: SumOf([]byte(r.Manifest)), KeyID: r.KeyID, Manifest: []byte(r.Manifest), Signature: r.Signature}, nil
}

// page reads a page that is on disk.
func (m *Mirror) page(b Blob) ([]byte, error) {
	if b.Size == 0 {
		return nil, nil
	}
	return os.ReadFile(m.in(pagesName, b.Sum))
}
