module flotilla/interop

go 1.23

require github.com/nats-io/nats.go v1.39.1
