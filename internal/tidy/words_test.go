package tidy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// unwanted are words that say that something is unfinished, or that it is at
// home on one machine. They are put together here, so that this file has none.
var unwanted = map[string]string{
	"TO" + "DO":            "what is missing is an issue, or stands under \"not supported\" in README.md",
	"FIX" + "ME":           "what is wrong is an issue",
	"XX" + "X:":            "what is wrong is an issue",
	"not " + "implemented": "an error says what can be done instead",
	"/ho" + "me/":          "a path of one machine means nothing on another",
	"/wo" + "rk/":          "a path of one machine means nothing on another",
}

func TestNothingIsUnfinished(t *testing.T) {
	r := load(t)
	for _, s := range r.files {
		reportWords(t, s.path, string(s.text))
	}
	for path, text := range r.texts {
		reportWords(t, path, text)
	}
}

func reportWords(t *testing.T, path, text string) {
	t.Helper()
	for word, why := range unwanted {
		if at := strings.Index(text, word); at >= 0 {
			t.Errorf("%s:%d: %q: %s", path, 1+strings.Count(text[:at], "\n"), word, why)
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

// A link that leads nowhere is worse than none.
func TestLinksInDocumentsLeadSomewhere(t *testing.T) {
	for path, text := range load(t).texts {
		if !strings.HasSuffix(path, ".md") {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target := filepath.Join(root, filepath.Dir(path), m[1])
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: link to %s: %v", path, m[1], err)
			}
		}
	}
}

var mention = regexp.MustCompile("`((?:internal|cmd|examples|docs)/[a-z0-9_./]*[a-z0-9_])`")

// A file or package that a document names is there.
func TestPathsInDocumentsExist(t *testing.T) {
	for path, text := range load(t).texts {
		if !strings.HasSuffix(path, ".md") {
			continue
		}
		for _, m := range mention.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s names %s: %v", path, m[1], err)
			}
		}
	}
}
