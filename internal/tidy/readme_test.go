package tidy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The README's program is examples/hello, which is built and run by its own test:
// what a newcomer copies works.
func TestProgramInReadmeIsAnExample(t *testing.T) {
	_, rest, ok := strings.Cut(load(t).texts["README.md"], "\n```go\n")
	program, _, closed := strings.Cut(rest, "\n```\n")
	if !ok || !closed {
		t.Fatal("README.md has no Go program")
	}
	b, err := os.ReadFile(filepath.Join(root, "examples", "hello", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(b), "\n") // without its comment
	if program+"\n" != example {
		t.Errorf("README.md has\n%s\nexamples/hello has\n%s", program, example)
	}
	_, body, _ := strings.Cut(program, "func main() {\n")
	if n := strings.Count(body, "\n"); n > 10 {
		t.Errorf("the ten-line program has %d lines in its main", n)
	}
}

// The two commands stand at the top, before anything that has to be read.
func TestReadmeBeginsWithTheTwoCommands(t *testing.T) {
	lines := strings.SplitN(load(t).texts["README.md"], "\n", 12)
	top := strings.Join(lines[:len(lines)-1], "\n")
	for _, command := range []string{"go run ./cmd/usertcp demo", "go test ./..."} {
		if !strings.Contains(top, "\n    "+command) {
			t.Errorf("%q is not in the first lines of README.md", command)
		}
	}
}

// Every command of the binary is in the README.
func TestReadmeNamesTheCommands(t *testing.T) {
	text := load(t).texts["README.md"]
	for _, name := range []string{"server", "demo", "perf", "compare", "nc"} {
		if _, err := os.Stat(filepath.Join(root, "cmd", "usertcp", name+".go")); err != nil {
			t.Error(err)
		}
		if !strings.Contains(text, "\n    usertcp "+name+" ") {
			t.Errorf("README.md does not show usertcp %s", name)
		}
	}
}
