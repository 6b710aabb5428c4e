// A program that takes part in a Flotilla fleet with a plain NATS client: docs/wire.md, step by step.
//
//	go run . call    # asks the service "alpha", sends it a durable command, reads one of its events
//	go run . serve   # is the service "beta": answers a query and handles the durable commands of a saga
//
// It prints one JSON object a line. NATS_URL says where the server is.
package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func partitionOf(key string) uint32 {
	hash := uint32(0x811c9dc5)
	for _, b := range []byte(key) {
		hash = (hash ^ uint32(b)) * 0x01000193
	}
	return (hash ^ (hash >> 16)) % 16
}

const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

func subjectToken(key string) string {
	var token strings.Builder
	for _, b := range []byte(key) {
		if strings.IndexByte(plain, b) >= 0 {
			token.WriteByte(b)
		} else {
			fmt.Fprintf(&token, "=%02X", b)
		}
	}
	if token.Len() == 0 {
		return "="
	}
	return token.String()
}

func newID() string {
	b := make([]byte, 16)
	check(errOf(rand.Read(b)))
	return fmt.Sprintf("%x", b)
}

// derivedID is the same for the same text.
func derivedID(text string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(text)))[0:32]
}

func now() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000Z") }

func say(fact map[string]any) {
	line, err := json.Marshal(fact)
	check(err)
	fmt.Println(string(line))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func errOf(_ int, err error) error { return err }

// message sets each header by its very name: Header.Add and Header.Set would write "Ce-Id".
func message(subject string, body []byte, headers map[string]string) *nats.Msg {
	msg := &nats.Msg{Subject: subject, Data: body, Header: nats.Header{}}
	for name, value := range headers {
		msg.Header[name] = []string{value}
	}
	return msg
}

func header(headers nats.Header, name string) string {
	if values := headers[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// call is the service "outside", whose manifest provisioned its streams and consumers.
func call(ctx context.Context, url string) {
	nc, err := nats.Connect(url, nats.CustomInboxPrefix("_INBOX_outside"))
	check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	check(err)

	// A query: a request with an id and a type.
	answer, err := nc.RequestMsg(message("rpc.alpha.GetTotal.v1", []byte(`{"accountId":"go-nobody"}`), map[string]string{
		"ce-id": newID(), "ce-type": "alpha.GetTotal.v1",
	}), 5*time.Second)
	check(err)
	say(map[string]any{"query": json.RawMessage(answer.Data), "outcome": header(answer.Header, "ce-outcome")})

	// A durable command: stored in its owner's queue, answered in ours. Sent twice, as after a lost acknowledgement.
	key, conversation, commandID := "go-1", "conversation-1", newID()
	subject := fmt.Sprintf("cmd.alpha.Add.v1.%d.%s", partitionOf(key), subjectToken(key))
	for _, messageID := range []string{commandID, commandID + ".2"} {
		_, err = js.PublishMsg(ctx, message(subject, []byte(`{"accountId":"go-1","amount":5}`), map[string]string{
			"Nats-Msg-Id":      messageID,
			"ce-specversion":   "1.0",
			"ce-id":            commandID,
			"ce-type":          "alpha.Add.v1",
			"ce-source":        "outside",
			"ce-time":          now(),
			"ce-subject":       key,
			"ce-correlationid": commandID,
			"ce-replyto":       fmt.Sprintf("reply.outside.%d.%s", partitionOf(conversation), subjectToken(conversation)),
			"content-type":     "application/json",
		}))
		check(err)
	}
	replies, err := js.Consumer(ctx, "REPLY_outside", "outside")
	check(err)
	for range 2 {
		reply, err := replies.Next(jetstream.FetchMaxWait(15 * time.Second))
		check(err)
		tokens := strings.Split(reply.Subject(), ".")
		say(map[string]any{
			"answer":       json.RawMessage(reply.Data()),
			"outcome":      header(reply.Headers(), "ce-outcome"),
			"mine":         header(reply.Headers(), "ce-causationid") == commandID,
			"conversation": tokens[len(tokens)-1],
		})
		check(reply.DoubleAck(ctx))
	}
	takeOutHandled(ctx, js, "REPLY_outside", "outside")

	// An event: from the consumer of our reaction "watch".
	events, err := js.Consumer(ctx, "EVT_alpha", "outside-watch")
	check(err)
	event, err := events.Next(jetstream.FetchMaxWait(15 * time.Second))
	check(err)
	say(map[string]any{
		"event": json.RawMessage(event.Data()),
		"type":  header(event.Headers(), "ce-type"),
		"about": header(event.Headers(), "ce-subject"),
	})
	check(event.DoubleAck(ctx))
}

// serve is the service "beta".
func serve(ctx context.Context, url string) {
	nc, err := nats.Connect(url, nats.CustomInboxPrefix("_INBOX_beta"))
	check(err)
	js, err := jetstream.New(nc)
	check(err)
	// Stands for a table that is written in the transaction of the change.
	handled := map[string][]byte{}

	_, err = nc.QueueSubscribe("rpc.beta.GetBalance.v1", "beta", func(request *nats.Msg) {
		if deadline, err := time.Parse(time.RFC3339, header(request.Header, "ce-deadline")); err == nil && deadline.Before(time.Now()) {
			return // nobody waits any more
		}
		say(map[string]any{"served": json.RawMessage(request.Data)})
		check(request.Respond([]byte(`{"balance":42}`)))
	})
	check(err)
	commands, err := js.Consumer(ctx, "CMD_beta", "beta")
	check(err)
	check(nc.Flush())
	say(map[string]any{"ready": true})

	stopped, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	for stopped.Err() == nil {
		command, err := commands.Next(jetstream.FetchMaxWait(time.Second))
		if errors.Is(err, nats.ErrTimeout) || errors.Is(err, jetstream.ErrNoMessages) {
			continue
		}
		check(err)
		handle(ctx, js, command, handled)
		takeOutHandled(ctx, js, "CMD_beta", "beta")
	}
	check(nc.Drain())
}

func handle(ctx context.Context, js jetstream.JetStream, command jetstream.Msg, handled map[string][]byte) {
	told := func(name string) string { return header(command.Headers(), name) }
	facts, err := command.Metadata()
	check(err)
	id := told("ce-id")
	if told("ce-type") != "beta.Charge.v1" || id == "" {
		giveUp(ctx, js, command, facts, "UNKNOWN_MESSAGE", "no handler for "+told("ce-type"))
		return
	}
	_, before := handled[id]
	if !before {
		var payload struct{ TabID string }
		check(json.Unmarshal(command.Data(), &payload))
		answer, err := json.Marshal(map[string]string{"chargeId": "go-" + payload.TabID})
		check(err)
		handled[id] = answer
	}
	say(map[string]any{"handled": id, "first": !before})
	if replyTo := told("ce-replyto"); replyTo != "" {
		replyID := derivedID(fmt.Sprintf("%s/reply/%d", id, facts.Sequence.Stream))
		_, err := js.PublishMsg(ctx, message(replyTo, handled[id], map[string]string{
			"Nats-Msg-Id":      replyID,
			"ce-specversion":   "1.0",
			"ce-id":            replyID,
			"ce-type":          told("ce-type"),
			"ce-source":        "beta",
			"ce-time":          now(),
			"ce-subject":       orElse(told("ce-subject"), id),
			"ce-correlationid": orElse(told("ce-correlationid"), id),
			"ce-causationid":   id,
			"ce-outcome":       "ok",
			"content-type":     "application/json",
		}))
		check(err)
	}
	check(command.DoubleAck(ctx))
}

// giveUp writes the dead letter first, and settles then.
func giveUp(ctx context.Context, js jetstream.JetStream, dead jetstream.Msg, facts *jetstream.MsgMetadata, code, why string) {
	sequence := strconv.FormatUint(facts.Sequence.Stream, 10)
	headers := map[string]string{}
	for name, values := range dead.Headers() {
		if !strings.HasPrefix(name, "Nats-") {
			headers[name] = values[0]
		}
	}
	for name, value := range map[string]string{
		"Nats-Msg-Id":                derivedID("DLQ/beta/CMD_beta/" + sequence),
		"flotilla-error-code":        code,
		"flotilla-error-message":     why,
		"flotilla-attempts":          strconv.FormatUint(facts.NumDelivered, 10),
		"flotilla-service":           "beta",
		"flotilla-consumer":          "beta",
		"flotilla-original-subject":  dead.Subject(),
		"flotilla-original-stream":   "CMD_beta",
		"flotilla-original-sequence": sequence,
		"flotilla-died-at":           now(),
		"flotilla-history":           "[]",
	} {
		headers[name] = value
	}
	_, err := js.PublishMsg(ctx, message("dlq.beta.beta", dead.Data(), headers))
	check(err)
	check(dead.Term())
}

func orElse(value, otherwise string) string {
	if value != "" {
		return value
	}
	return otherwise
}

// takeOutHandled: a queue keeps what is not handled, its consumer takes out the rest.
func takeOutHandled(ctx context.Context, js jetstream.JetStream, stream, consumer string) {
	queue, err := js.Stream(ctx, stream)
	check(err)
	info, err := js.Consumer(ctx, stream, consumer)
	check(err)
	if floor := info.CachedInfo().AckFloor.Stream; floor > 0 {
		check(queue.Purge(ctx, jetstream.WithPurgeSequence(floor+1)))
	}
}

func main() {
	mode := call
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		mode = serve
	}
	mode(context.Background(), os.Getenv("NATS_URL"))
}
