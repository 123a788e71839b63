package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"bittern/internal/require"
)

func TestCommittedDataIsCurrent(t *testing.T) {
	data, licence, err := convert(os.DirFS(require.Shared(t)))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"attack.csv": data, "LICENSE.txt": licence} {
		got, err := os.ReadFile(filepath.Join("..", "data", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is out of date; run go generate ./internal/attack: %s", name, cmp.Diff(string(got), string(want)))
		}
	}
}

func TestConvertRefuses(t *testing.T) {
	good := func() fstest.MapFS {
		return fstest.MapFS{
			"attack.csv":         {Data: []byte("id,name,tactics,linux,status,replaced_by\nT1001,Data Obfuscation,TA0011,1,active,\n")},
			"attack.NOTE":        {Data: []byte("ATT&CK, version 19.1: ...")},
			"attack-LICENSE.txt": {Data: []byte("terms")},
		}
	}
	data, _, err := convert(good())
	if err != nil {
		t.Fatal(err)
	}
	if want := "technique,T1001,Data Obfuscation,TA0011,linux,active,\n"; !strings.HasSuffix(string(data), want) {
		t.Errorf("got %q, want it to end in %q", data, want)
	}
	for _, tc := range []struct{ file, content, want string }{
		{"attack.NOTE", "no number", "version"},
		{"attack.csv", "id,name\nT1,x\n", "tactics"},
		{"attack.csv", "id,name,tactics,linux,status,replaced_by\nT1001,x,TA9999,1,active,\n", "TA9999"},
	} {
		source := good()
		source[tc.file] = &fstest.MapFile{Data: []byte(tc.content)}
		if _, _, err := convert(source); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s %q: got error %v, want one that says %q", tc.file, tc.content, err, tc.want)
		}
	}
	for name := range good() {
		source := good()
		delete(source, name)
		if _, _, err := convert(source); err == nil {
			t.Errorf("no error without %s", name)
		}
	}
}

func TestRunKeepsDataWithoutSource(t *testing.T) {
	out := t.TempDir()
	if err := run(filepath.Join(out, "absent"), out); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(out)
	if err != nil || len(entries) != 0 {
		t.Errorf("got %v, %v; want an untouched directory", entries, err)
	}
}
