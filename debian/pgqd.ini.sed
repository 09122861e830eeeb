1,3d
s|^#logfile *=.*|logfile = /var/log/pgqd/pgqd.log|
s|^pidfile *=.*|pidfile = /run/pgqd/pgqd.pid|
s|^#syslog *=.*|syslog = 0|
