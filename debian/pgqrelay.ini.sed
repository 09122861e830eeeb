1,3d
s|^#logfile *=.*|logfile = /var/log/pgqrelay/pgqrelay.log|
s|^pidfile *=.*|pidfile = /run/pgqrelay/pgqrelay.pid|
s|^#syslog *=.*|syslog = 0|
# a relay is an example only
/^\[relay /,$s|^\([^#]\)|#\1|
