# Starts the client in Java, and compiles it first if it is not newer than its files. duress starts several at once: one compiles,
# the others wait for it.
exec 9>.lock && flock 9
if ! [ classes/whole -nt Toy.java ] || ! [ classes/whole -nt DuressClient.java ]; then
    javac -d classes Toy.java DuressClient.java && touch classes/whole || exit
fi
# There are many virtual machines: small ones that start fast.
exec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp classes Toy 9>&-
