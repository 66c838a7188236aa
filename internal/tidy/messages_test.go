package tidy

import (
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// messagesHead is what stands above the generated table.
const messagesHead = `# Control messages

The paper's 16 messages (§A.3) and those of our own (` + "`Keep`, `Adopt`, `Time_Wait`, `Status`, `Hand_Over`, `Take_Over`, `Sockets`, `End`, `Usage`, `Limits`" + `), as application, child and connection server exchange them over ` + "`SOCK_SEQPACKET`" + ` Unix
sockets. This table is the one in [internal/message/message.go](../internal/message/message.go), which is also what arriving messages are
checked against; the layout of a message is in [internal/message/codec.go](../internal/message/codec.go). In which order the messages go is in
[ARCHITECTURE.md](../ARCHITECTURE.md#life-of-a-connection).

| message | from | to | descriptors, at most | a packet | what for, and what it carries |
|---|---|---|---|---|---|
`

// docs/messages.md is generated from the table in the code, and so is never older.
func TestMessagesAreDocumented(t *testing.T) {
	want := messagesHead + strings.Join(messageRows(t), "")
	path := filepath.Join(root, "docs", "messages.md")
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/messages.md differs from the table in internal/message/message.go: go test ./internal/tidy -update")
	}
	if n := strings.Count(want, "\n| `"); n != 27 {
		t.Errorf("the table has %d messages, the paper 16 and we 11", n)
	}
}

// messageRows reads the rows of message.table from its source.
func messageRows(t *testing.T) []string {
	t.Helper()
	for _, s := range load(t).files {
		if s.path != "internal/message/message.go" {
			continue
		}
		var rows []string
		ast.Inspect(s.file, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || v.Names[0].Name != "table" {
				return true
			}
			for _, e := range v.Values[0].(*ast.CompositeLit).Elts {
				rows = append(rows, messageRow(t, e.(*ast.KeyValueExpr).Value.(*ast.CompositeLit).Elts))
			}
			return false
		})
		return rows
	}
	t.Fatal("internal/message/message.go is not there")
	return nil
}

// messageRow makes a row of the fields of a form: name, from, to, pdu, files, about.
func messageRow(t *testing.T, fields []ast.Expr) string {
	t.Helper()
	if len(fields) != 6 {
		t.Fatalf("a form has %d fields, want 6: this test has to learn what the new one is", len(fields))
	}
	packet := "no"
	if parties(fields[3]) == "true" {
		packet = "yes"
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s | %s | %s |\n", text(t, fields[0]),
		parties(fields[1]), parties(fields[2]), parties(fields[4]), packet, text(t, fields[5]))
}

func text(t *testing.T, e ast.Expr) string {
	t.Helper()
	s, err := strconv.Unquote(e.(*ast.BasicLit).Value)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(s, "|", "\\|")
}

// parties writes names joined by | in words, and literals as they are.
func parties(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return map[string]string{"User": "application", "Child": "child", "Server": "server", "true": "true", "false": "false"}[e.Name]
	case *ast.BasicLit:
		return e.Value
	case *ast.BinaryExpr:
		if e.Op == token.OR {
			return parties(e.X) + ", " + parties(e.Y)
		}
	}
	return "?"
}
