package require

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
)

// PostgresVariable is the environment variable that says which PostgreSQL to test with: the directory of its programs.
const PostgresVariable = "BITTERN_TEST_POSTGRES"

// DB needs an installed PostgreSQL, no running one, and returns the directory of its programs: the newest one
// of Debian's, or what PATH has.
func DB(t T) string {
	t.Helper()
	dir, err := postgresPrograms()
	if err != nil {
		unmet(t, "db", err)
	}
	return dir
}

// PgBouncer needs that program, and returns the directory that it is in.
func PgBouncer(t T) string {
	t.Helper()
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/pgbouncer") // where Debian has it, which may not be in PATH
	}
	if err != nil {
		unmet(t, "db", fmt.Errorf("looking for a program: %w", err))
	}
	return filepath.Dir(path)
}

// OtherPostgres needs a server that scripts/postgres/fetch.sh has fetched, of that major version, and root, since it is run within its root
// tree. It returns the directory of its programs.
func OtherPostgres(t T, version string) string {
	t.Helper()
	dir, err := fetchedPostgres(version)
	if err != nil {
		unmet(t, "db", err)
	}
	return dir
}

func fetchedPostgres(version string) (string, error) {
	if os.Geteuid() != 0 {
		return "", fmt.Errorf("running PostgreSQL %s in its root tree: it needs root", version)
	}
	root, err := Module()
	if err != nil {
		return "", err
	}
	tree := filepath.Join(root, ".cache", "postgres", version)
	// Written last of all, see the script.
	if _, err := os.Stat(filepath.Join(tree, "version")); err != nil {
		return "", fmt.Errorf("looking for PostgreSQL %s (run scripts/setup.sh test): %w", version, err)
	}
	return filepath.Join(tree, "usr/lib/postgresql", version, "bin"), nil
}

func postgresPrograms() (string, error) {
	if os.Geteuid() == 0 {
		// The server refuses to be run by root.
		if _, err := user.Lookup("postgres"); err != nil {
			return "", fmt.Errorf("looking for PostgreSQL: %w", err)
		}
	}
	if dir := os.Getenv(PostgresVariable); dir != "" {
		if !holdsPostgres(dir) {
			return "", fmt.Errorf("looking for PostgreSQL: %s is %s, which does not hold initdb and postgres", PostgresVariable, dir)
		}
		return dir, nil
	}
	dir, err := newestPostgres("/usr/lib/postgresql/*/bin")
	if err == nil {
		return dir, nil
	}
	if path, lookErr := exec.LookPath("initdb"); lookErr == nil && holdsPostgres(filepath.Dir(path)) {
		return filepath.Dir(path), nil
	}
	return "", err
}

// newestPostgres returns the directory of that pattern whose parent has the highest number.
func newestPostgres(pattern string) (string, error) {
	found, err := filepath.Glob(pattern)
	if err != nil {
		return "", fmt.Errorf("looking for PostgreSQL: %w", err)
	}
	found = slices.DeleteFunc(found, func(dir string) bool { return !holdsPostgres(dir) })
	if len(found) == 0 {
		return "", errors.New("looking for PostgreSQL: it is not installed (run scripts/setup.sh test)")
	}
	return slices.MaxFunc(found, func(a, b string) int { return cmp.Compare(version(a), version(b)) }), nil
}

// version is that of a directory such as /usr/lib/postgresql/15/bin, 0 if it has none.
func version(dir string) float64 {
	v, err := strconv.ParseFloat(filepath.Base(filepath.Dir(dir)), 64)
	if err != nil {
		return 0
	}
	return v
}

func holdsPostgres(dir string) bool {
	for _, name := range []string{"initdb", "postgres"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}
