// Package shipped holds the rules that ship with Bittern.
package shipped

import "embed"

// FS holds the rule files, in its root.
//
//go:embed *.yml
var FS embed.FS
