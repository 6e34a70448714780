// The client of the toy store, in Go. duress starts it, and speaks to it through duress_client.go.
package main

import (
	"bufio"
	"encoding/json"
	"net"
	"strings"
	"time"
)

type toy struct {
	seat       Seat
	connection net.Conn
	lines      *bufio.Reader
}

type reply struct {
	Result string `json:"result"`
	Value  any    `json:"value"`
}

func (t *toy) Open(seat Seat) error {
	connection, err := net.DialTimeout("tcp", seat.Address, seat.Timeout)
	t.seat, t.connection = seat, connection
	if err == nil {
		t.lines = bufio.NewReader(connection)
	}
	return err
}

func (t *toy) Close() { t.connection.Close() }

func (t *toy) ask(request map[string]any) (reply, error) {
	var found reply
	line, err := json.Marshal(request)
	if err != nil {
		return found, Fail(err.Error())
	}
	// From here on an error leaves it open: the request may arrive.
	if err := t.connection.SetDeadline(time.Now().Add(t.seat.Timeout)); err != nil {
		return found, err
	}
	if _, err := t.connection.Write(append(line, '\n')); err != nil {
		return found, err
	}
	text, err := t.lines.ReadString('\n')
	if err != nil {
		return found, err
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&found); err != nil {
		return found, err
	}
	if found.Result == "unavailable" {
		return found, Fail("the node has no connection to the primary")
	}
	return found, nil
}

// The workloads register and counter
func (t *toy) Read(key string) (any, error) {
	found, err := t.ask(map[string]any{"op": "read", "key": key})
	if err == nil && found.Value == nil && t.seat.Vocabulary == "counter" {
		return 0, nil
	}
	return found.Value, err
}

// The workload register
func (t *toy) Write(key string, value any) error {
	_, err := t.ask(map[string]any{"op": "write", "key": key, "value": value})
	return err
}

func (t *toy) Cas(key string, before, after any) error {
	found, err := t.ask(map[string]any{"op": "cas", "key": key, "old": before, "new": after})
	if err == nil && found.Result == "mismatch" {
		return Mismatch()
	}
	return err
}

// The workload counter
func (t *toy) Add(key string, delta any) error {
	_, err := t.ask(map[string]any{"op": "add", "key": key, "delta": delta})
	return err
}

func main() { Run(func() Client { return &toy{} }) }
