package perf

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// FileReport is what the receiver of a file says about it, and what the sender
// prints when it agrees.
type FileReport struct {
	Error   string  `json:"error,omitempty"`
	Octets  int64   `json:"octets"`
	SHA256  string  `json:"sha256"`
	Seconds float64 `json:"seconds"` // from the connection's start to its end of file
}

// Mbit is the throughput in Mbit/s.
func (f *FileReport) Mbit() float64 {
	return quotient(float64(f.Octets)*8/1e6, f.Seconds)
}

// fileSilence is how long a transfer may make no progress.
const fileSilence = patience

// ReceiveFile accepts one connection, reads it to its end, and answers with a
// FileReport over the same connection.
func ReceiveFile(ctx context.Context, l net.Listener) (*FileReport, error) {
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	conn, err := l.Accept()
	if err != nil {
		return nil, endOf(ctx, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	report, err := receiveFile(conn)
	if err != nil {
		return nil, endOf(ctx, err)
	}
	return report, newControl(conn).send("the file's checksum", report)
}

func receiveFile(conn net.Conn) (*FileReport, error) {
	began := time.Now()
	sum := sha256.New()
	n, err := io.Copy(sum, patientConn{conn})
	if err != nil {
		return nil, fmt.Errorf("receiving the file: %w", err)
	}
	return &FileReport{
		Octets:  n,
		SHA256:  hex.EncodeToString(sum.Sum(nil)),
		Seconds: time.Since(began).Seconds(),
	}, nil
}

// SendFile sends everything in file over the connection, and reads what the
// receiver got. It fails unless that is what was sent.
func SendFile(ctx context.Context, conn net.Conn, file io.Reader) (*FileReport, error) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	sum := sha256.New()
	n, err := io.Copy(patientConn{conn}, io.TeeReader(file, sum))
	if err == nil {
		err = closeWrite(conn)
	}
	if err != nil {
		return nil, endOf(ctx, fmt.Errorf("sending the file: %w", err))
	}
	var report FileReport
	err = newControl(conn).receive("the file's checksum", fileSilence, &report)
	if err = errors.Join(err, peerError(report.Error)); err != nil {
		return nil, endOf(ctx, err)
	}
	if sent := hex.EncodeToString(sum.Sum(nil)); report.Octets != n || report.SHA256 != sent {
		return nil, fmt.Errorf("the file arrived damaged: %d octets with SHA-256 %s were sent, %d with %s received",
			n, sent, report.Octets, report.SHA256)
	}
	return &report, nil
}

// patientConn sets a new deadline for each call, so that a long transfer may
// take its time, but not stand still. It hides the connection's other methods:
// nothing may move the file by a way that does not pass through here.
type patientConn struct{ conn net.Conn }

func (p patientConn) Read(b []byte) (int, error) {
	if err := p.conn.SetReadDeadline(time.Now().Add(fileSilence)); err != nil {
		return 0, err
	}
	return p.conn.Read(b)
}

func (p patientConn) Write(b []byte) (int, error) {
	if err := p.conn.SetWriteDeadline(time.Now().Add(fileSilence)); err != nil {
		return 0, err
	}
	return p.conn.Write(b)
}

// Transfer sends the file at path between two processes over user-space TCP.
func (r *Runner) Transfer(ctx context.Context, path string) (*FileReport, error) {
	out, err := r.pair(ctx, Alike("user"), []string{"receive-file"}, []string{"send-file", "-file", path}, 10*time.Minute)
	if err != nil {
		return nil, endOf(ctx, fmt.Errorf("transferring %s: %w", path, err))
	}
	var report FileReport
	if err := json.Unmarshal(out, &report); err != nil {
		return nil, fmt.Errorf("the sender's report: %w", err)
	}
	return &report, nil
}
