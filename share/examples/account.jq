# account.jq: reduce the events of a bank account to its state. The first input is the state so far, or null.
input as $state |
reduce inputs as $event ($state // {status: "none", balance: 0};
    if $event.type == "account.opened" then .status = "open" | .owner = $event.data.owner
    elif $event.type == "account.deposited" then .balance += $event.data.cents
    elif $event.type == "account.withdrawn" then .balance -= $event.data.cents
    elif $event.type == "account.closed" then .status = "closed"
    else . end)
